"""Bootstrap intervals: the same numbers in bounded memory."""

import tracemalloc

import numpy as np

from mmpretrain.evaluation.interval import DRAWN_AT_A_TIME, RESAMPLES, bootstrap_means, bootstrap_medians


def test_resamples_that_are_drawn_in_parts_are_those_of_one_draw():
    count = 2 * DRAWN_AT_A_TIME // RESAMPLES + 7  # in three parts
    values = np.random.default_rng(1).random(count)
    whole = values[np.random.default_rng(3).integers(0, count, size=(RESAMPLES, count))]
    assert np.array_equal(bootstrap_means(values, 3), whole.mean(axis=1))
    assert np.array_equal(bootstrap_medians(values, 3), np.median(whole, axis=1))


def test_memory_does_not_grow_with_resamples_times_rows():
    values = np.random.default_rng(1).random(20_000)
    tracemalloc.start()
    bootstrap_means(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # indices and values of a part; of all resamples at once they were 320 MB
    assert peak < 3 * 8 * DRAWN_AT_A_TIME
