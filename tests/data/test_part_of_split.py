"""Some samples of a split: drawn by the seed, in one order for any ranks, workers and stops."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.data.order import Part
from mmpretrain.data.training import Data, Source, TrainingData
from tests.data.test_loader import assert_same, settings_for, steps

GOLDEN = [(2, 3), (0, 2), (0, 4), (2, 3), (0, 2), (0, 4), (0, 2), (2, 3)]
SIZES = [5, 3, 4]

sizes_of_shards = st.lists(st.integers(1, 30), min_size=1, max_size=8)


def drawn(order: Part) -> set[tuple[int, int]]:
    return {order[position] for position in range(order.length)}


@given(sizes_of_shards, st.integers(0, 5), st.floats(0, 1), st.integers(0, 3))
def test_every_epoch_is_a_permutation_of_the_samples_that_were_drawn(
    sizes: list[int], seed: int, share: float, epoch: int
):
    samples = max(1, round(share * sum(sizes)))
    order = Part(sizes, "digest", seed, samples)
    seen = Counter(order[position] for position in range(epoch * samples, (epoch + 1) * samples))
    assert seen == dict.fromkeys(drawn(order), 1)
    assert len(seen) == samples
    assert all(0 <= row < sizes[shard] for shard, row in seen)


@given(sizes_of_shards, st.integers(0, 5))
def test_more_samples_hold_all_of_fewer(sizes: list[int], seed: int):
    several = [drawn(Part(sizes, "digest", seed, samples)) for samples in range(1, sum(sizes) + 1)]
    assert all(fewer < more for fewer, more in itertools.pairwise(several))


def test_seeds_and_data_each_draw_other_samples():
    first = drawn(Part([40, 60], "a", 0, 10))
    assert first != drawn(Part([40, 60], "a", 1, 10))
    assert first != drawn(Part([40, 60], "b", 0, 10))


def test_all_samples_are_drawn_alike():
    """Chi-squared over 12 samples; 31.3 is the 0.1 % point at 11 degrees of freedom."""
    counts = Counter(place for seed in range(600) for place in drawn(Part(SIZES, "digest", seed, 4)))
    assert sum((counts[shard, row] - 200) ** 2 / 200 for shard, size in enumerate(SIZES) for row in range(size)) < 31.3


def test_reserves_are_drawn_samples_too():
    order = Part([50, 50], "digest", 0, 6)
    found = {order.reserve(position, attempt) for position in range(40) for attempt in (1, 2)}
    assert found == drawn(order)


def test_the_samples_and_their_order_are_those_of_the_first_release():
    order = Part(SIZES, "digest", 7, 3)
    assert [order[position] for position in range(8)] == GOLDEN


@pytest.mark.parametrize(("ranks", "micros", "workers", "start"), [(2, 1, 0, 0), (1, 3, 2, 0), (3, 1, 1, 4)])
def test_a_part_is_read_the_same_however_steps_are_cut_and_after_a_stop(
    shapes: Path, ranks: int, micros: int, workers: int, start: int
):
    more = {"samples": 20, "batch": 6}
    whole = steps(shapes, 9, **more)
    assert_same(steps(shapes, 9 - start, ranks, micros, start, workers=workers, **more), whole[start:])
    assert len({key for keys, _ in whole for key in keys}) == 20


def test_a_run_on_a_part_has_the_length_of_the_part_and_says_so(shapes: Path):
    data = TrainingData(settings_for(shapes, samples=20))
    assert (len(data), data.label) == (20, f"20 of {shapes.name}:train")
    several = Data(batch=4, sources=[Source(name=str(shapes), samples=5), Source(name=str(shapes), split="train")])
    assert TrainingData(several).lengths == [5, 48]


@pytest.mark.parametrize("samples", [49, 1000])
def test_more_samples_than_there_are_is_refused(shapes: Path, samples: int):
    with pytest.raises(ConfigError, match=rf"samples: {samples} is more than the 48 of .*:train"):
        TrainingData(settings_for(shapes, samples=samples))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "a", "order": "streaming"}, "streaming draws whole shards"),
        ({"sources": [{"name": "a"}]}, r"set sources\.N\.samples"),
    ],
)
def test_what_has_no_part_is_refused_with_the_remedy(more: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        build(Data, {"batch": 4, "samples": 2, **more})
