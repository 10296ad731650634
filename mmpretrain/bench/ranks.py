"""Row 10: two DDP ranks on two cores against one rank on one."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import EQUAL_STEPS, VIT_S_16, Place, furthest
from mmpretrain.bench.turns import in_turns, one_core
from mmpretrain.bench.works import Asked

BATCH, STEPS, UNSTEADY, ROUNDS = 64, 3, 2, 2
"""Of a rank; steps of a process, those of them that do not count, and rounds."""
PRECISION = "fp32"
DDP = "engine.kind=ddp"


def measure(asked: Asked) -> Iterator[Row]:
    """One row."""
    rounds, batch = asked.turns(ROUNDS), 4 if asked.small else BATCH
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), VIT_S_16, 2 * batch, 3 if asked.small else STEPS, UNSTEADY)
        contenders = {"one": partial(one_rank, place, batch), "two": partial(two_ranks, place)}
        seconds = in_turns(contenders, rounds, warm_up=0)
        difference = apart(place)
    yield Row(
        row="10",
        work=f"2 DDP ranks on 2 cores, {VIT_S_16.peer}, batch {batch} a rank, {PRECISION}",
        peer="1 rank on 1 core",
        measure="times its samples/s",
        ratio=Ratio.of([2 * each for each in seconds["one"]], seconds["two"]),
        goal=Goal(1.8),
        rounds=rounds,
        difference=difference,
    )


def one_rank(place: Place, batch: int) -> float:
    """Seconds of a steady step; processes that it starts inherit the core."""
    with one_core():
        return place.ours(PRECISION, f"data.batch={batch}")


def two_ranks(place: Place) -> float:
    """Seconds of a steady step."""
    return place.ours(PRECISION, DDP, ranks=2)


def apart(place: Place) -> str:
    """How far losses and gradients of equal steps are apart, of the same small batch on one rank and on two."""
    small = ("data.batch=8",)
    one = place.our_steps("fp32", EQUAL_STEPS, place.data, *small)
    two = place.our_steps("fp32", EQUAL_STEPS, place.data, *small, DDP, ranks=2)
    worst = max(furthest([each[key] for each in one], [each[key] for each in two]) for key in ("loss", "grad_norm"))
    return f"losses and gradient norms of {EQUAL_STEPS} steps within {worst:.0e}"
