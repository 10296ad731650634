from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.data.mixture import Mixture, apportion
from mmpretrain.data.order import Order

GOLDEN = [(0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 0)]

weights = st.lists(st.integers(0, 10), min_size=1, max_size=5).filter(any)


@given(weights, st.integers(0, 10**9))
def test_parts_of_a_mixture_add_up_and_stay_near_the_weights(parts: list[int], rows: int):
    fractions = [Fraction(part) for part in parts]
    found = apportion(rows, fractions)
    assert sum(found) == rows
    for count, weight in zip(found, fractions, strict=True):
        assert abs(count - rows * weight / sum(fractions)) < len(parts)


@given(weights, st.integers(0, 10**6), st.integers(1, 300))
def test_parts_of_a_mixture_never_shrink(parts: list[int], rows: int, more: int):
    fractions = [Fraction(part) for part in parts]
    for before, after in zip(apportion(rows, fractions), apportion(rows + more, fractions), strict=True):
        assert 0 <= after - before <= more


def mixture(weights: list[list[tuple[int, float]]], batch: int = 6, seed: int = 0) -> Mixture:
    orders = [Order([4, 3], "a", seed), Order([5], "b", seed), Order([2, 2, 2], "c", seed)]
    return Mixture(orders[: len(weights)], weights, batch, seed)


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), max_size=3), min_size=2, max_size=3),
    st.integers(1, 11),
    st.integers(0, 3),
)
def test_each_source_is_read_in_its_own_order_without_gaps(later: list, batch: int, seed: int):
    schedule = [[(0, 1.0), *sorted(dict(pairs).items())] for pairs in later]
    schedule[0] = [(0, 1.0)]  # so that no step is without any weight
    mixed = mixture(schedule, batch, seed)
    orders = [Order([4, 3], "a", seed), Order([5], "b", seed), Order([2, 2, 2], "c", seed)]
    read: dict[int, list] = {}
    for step in range(12):
        rows = [mixed[position] for position in range(step * batch, (step + 1) * batch)]
        for source in range(len(schedule)):
            read.setdefault(source, []).append(Counter(place[1:] for place in rows if place.source == source))
    for source, steps in read.items():
        taken = 0
        for counted in steps:
            expected = Counter(orders[source][local] for local in range(taken, taken + sum(counted.values())))
            assert counted == expected
            taken += sum(counted.values())


def test_weights_hold_from_their_step_on():
    mixed = mixture([[(0, 1.0)], [(0, 0.0), (4, 1.0)], [(0, 2.0), (8, 0.0)]], batch=60)
    shares = [
        Counter(mixed[position].source for position in range(60 * step, 60 * (step + 1))) for step in (0, 3, 4, 7, 8)
    ]
    assert shares == [{0: 20, 2: 40}, {0: 20, 2: 40}, {0: 15, 1: 15, 2: 30}, {0: 15, 1: 15, 2: 30}, {0: 30, 1: 30}]


def test_one_source_alone_keeps_the_order_that_it_has_by_itself():
    order = Order([4, 3], "a", 0)
    assert [mixture([[(0, 3.0)]])[position][1:] for position in range(30)] == [order[p] for p in range(30)]


def test_the_mixture_is_that_of_its_first_release():
    mixed = mixture([[(0, 0.7)], [(0, 0.3)]])
    assert [tuple(mixed[position]) for position in range(10**9, 10**9 + 6)] == GOLDEN


@pytest.mark.parametrize("attempt", [1, 2, 50])
def test_a_reserve_comes_from_the_same_source(attempt: int):
    mixed = mixture([[(0, 1.0)], [(0, 1.0)]])
    for position in range(40):
        assert mixed.reserve(position, attempt).source == mixed[position].source
        assert mixed.reserve(position, attempt) == mixed.reserve(position, attempt)
