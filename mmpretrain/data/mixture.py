"""One order over several datasets: position -> (source, shard, sample), with weights that follow the step.

Each source is read in its own order, without gaps: how many of its samples stand before a step is a closed form
of the weights, so the mixture too has no state but the position.
"""

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from mmpretrain.core.counter import name_to_int, permutation
from mmpretrain.data.order import Order


class Place(NamedTuple):
    """Where a sample stands."""

    source: int
    shard: int
    sample: int


class Stage(NamedTuple):
    """Weights from one step on."""

    step: int
    weights: tuple[Fraction, ...]


class Mixture:
    """Which sample of which source stands at a position.

    A step takes from each source its share of the batch: the rows of all steps together stray from the weights by
    less than one row a source. Within a step the rows of all sources are shuffled, so that every rank sees the mixture.

    Args:
        orders: one a source.
        weights: for each source (step, weight) pairs in rising order of step, the first at 0.
        batch: positions in one step.
        seed: of the shuffle within steps.
    """

    def __init__(
        self, orders: Sequence[Order], weights: Sequence[Sequence[tuple[int, float]]], batch: int, seed: int
    ) -> None:
        self._orders = orders
        self._stages = stages(weights)
        self._batch = batch
        self._key = name_to_int(f"mixture {seed}")
        self.taken = functools.lru_cache(maxsize=8)(self._count_before)
        """step -> samples of each source that stand before it"""
        self._rows = functools.lru_cache(maxsize=4)(self._shuffle_step)

    def __getitem__(self, position: int) -> Place:
        """The place of a position, from 0 without end."""
        source, local = self._source_of(position)
        return Place(source, *self._orders[source][local])

    def reserve(self, position: int, attempt: int) -> Place:
        """What stands in for a position: another sample of the same source."""
        source, local = self._source_of(position)
        return Place(source, *self._orders[source].reserve(local, attempt))

    def _source_of(self, position: int) -> tuple[int, int]:
        """The source of a position, and the position in that source's own order."""
        if len(self._orders) == 1:
            return 0, position
        step, row = divmod(position, self._batch)
        place = int(self._rows(step)[row])
        for source, (first, end) in enumerate(zip(self.taken(step), self.taken(step + 1), strict=True)):
            if place < end - first:
                return source, first + place
            place -= end - first
        raise AssertionError("the counts of a step add up to the batch")

    def _shuffle_step(self, step: int) -> list[int]:
        rows: list[int] = permutation(self._batch, self._key, step).tolist()
        return rows

    def _count_before(self, step: int) -> tuple[int, ...]:
        """Samples of each source that stand before a step."""
        counts = [0] * len(self._orders)
        for stage, end in zip(self._stages, [*(s.step for s in self._stages[1:]), step], strict=True):
            rows = (min(end, step) - stage.step) * self._batch
            if rows <= 0:
                break
            counts = [count + part for count, part in zip(counts, apportion(rows, stage.weights), strict=True)]
        return tuple(counts)


def stages(weights: Sequence[Sequence[tuple[int, float]]]) -> list[Stage]:
    """The weights of all sources together, from each step on at which one of them changes."""
    steps = sorted({step for source in weights for step, _ in source})
    return [Stage(step, tuple(weight_at(source, step) for source in weights)) for step in steps]


def weight_at(source: Sequence[tuple[int, float]], step: int) -> Fraction:
    """What a source weighs at a step; 0 before its first pair."""
    # through text: 0.1 is to mean a tenth, or rounding would depend on the platform
    return next((Fraction(str(weight)) for start, weight in reversed(source) if start <= step), Fraction(0))


def apportion(rows: int, weights: Sequence[Fraction]) -> list[int]:
    """Rows of each source: parts that add up to `rows` and never shrink when `rows` grows.

    Source after source takes its part of what those before it left, rounded down; rounding each part by itself
    would now and then take a sample back.
    """
    parts, rest = [], sum(weights)
    for weight in weights:
        part = rows * weight // rest if rest else 0
        parts.append(int(part))
        rows, rest = rows - int(part), rest - weight
    return parts
