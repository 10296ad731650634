from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.data.order import Order, positions_of_micro_batch

GOLDEN = [(1, 2), (1, 0), (1, 1), (0, 2), (0, 4), (1, 2), (0, 3), (2, 1)]

sizes_of_shards = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@given(sizes_of_shards, st.integers(0, 5), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_every_epoch_is_a_permutation(sizes: list[int], seed: int, block: int, window: int, epoch: int):
    order = Order(sizes, "digest", seed, block, window)
    seen = Counter(order[position] for position in range(epoch * order.length, (epoch + 1) * order.length))
    assert seen == {(shard, sample): 1 for shard, size in enumerate(sizes) for sample in range(size)}


def sequence(order: Order, start: int, count: int) -> list[tuple[int, int]]:
    return [order[position] for position in range(start, start + count)]


def test_epochs_seeds_and_data_each_change_the_order():
    sizes = [40, 60]
    first = sequence(Order(sizes, "a", 0), 0, 100)
    assert first != sequence(Order(sizes, "a", 0), 100, 100)
    assert first != sequence(Order(sizes, "a", 1), 0, 100)
    assert first != sequence(Order(sizes, "b", 0), 0, 100)


def test_the_order_is_that_of_the_first_release():
    """Runs resume by position: the samples there may never change."""
    assert sequence(Order([5, 3, 4], "digest", 7, block=2, window=3), 9, 8) == GOLDEN


@given(st.integers(0, 10**12))
@settings(max_examples=30)
def test_a_far_position_costs_no_more_than_a_near_one(position: int):
    order = Order([1000] * 20, "digest", 0)
    assert order[position] == Order([1000] * 20, "digest", 0)[position]


def test_reads_stay_in_few_shards_at_a_time():
    order = Order([256] * 100, "digest", 0, block=64, window=8)
    for start in range(0, order.length, 512):
        assert len({order[position][0] for position in range(start, start + 512)}) <= 16


@given(st.integers(0, 50), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_ranks_and_micro_batches_cut_a_step_into_equal_parts(step: int, ranks: int, micros: int, rows: int):
    batch = ranks * micros * rows
    parts = [
        positions_of_micro_batch(step, micro, batch, rank, ranks, micros)
        for rank in range(ranks)
        for micro in range(micros)
    ]
    assert [position for part in parts for position in part] == list(range(step * batch, (step + 1) * batch))
    assert {len(part) for part in parts} == {rows}


@pytest.mark.parametrize("position", [0, 11, 12, 10**9])
def test_a_single_shard_with_a_single_sample_repeats_it(position: int):
    assert Order([1], "digest", 0)[position] == (0, 0)


def test_reserves_are_spread_over_all_samples_and_differ_by_attempt():
    order = Order([50, 50], "digest", 0)
    drawn = {order.reserve(position, attempt) for position in range(100) for attempt in (1, 2, 3, 4)}
    assert len(drawn) > 90
    assert any(order.reserve(position, 1) != order.reserve(position, 2) for position in range(5))


@pytest.mark.timeout(20)
def test_a_position_a_billion_samples_on_is_found_at_once():
    order = Order([10_000] * 2_000, "digest", 0)
    assert 0 <= order[10**9][0] < 2_000


def test_positions_of_a_sample_over_epochs_are_uniform():
    """Chi-squared over 10 equal parts of the epoch; 27.9 is the 0.1 % point at 9 degrees of freedom."""
    order = Order([25] * 8, "digest", 3, block=5, window=64)
    counts = [0] * 10
    for epoch in range(300):
        place = next(p for p in range(200) if order[epoch * 200 + p] == (3, 7))
        counts[place // 20] += 1
    assert sum((count - 30) ** 2 / 30 for count in counts) < 27.9
