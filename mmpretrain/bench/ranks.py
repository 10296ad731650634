"""Row 10: two DDP ranks on two cores against one rank on one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import AHEAD, EQUAL_STEPS, VIT_S_16, Place, furthest
from mmpretrain.bench.turns import in_turns, one_core
from mmpretrain.bench.works import Asked

BATCH, ROUNDS = 64, 2
"""Of a rank, and rounds."""
PRECISION = "fp32"
DDP = "engine.kind=ddp"


def measure(asked: Asked) -> Iterator[Row]:
    """One row."""
    rounds, batch = asked.turns(ROUNDS), 4 if asked.small else BATCH
    with tempfile.TemporaryDirectory() as folder:
        unsteady = 1 if asked.small else VIT_S_16.unsteady
        place = Place(Path(folder), VIT_S_16, 2 * batch, unsteady + rounds + AHEAD, unsteady)
        with place.ours(PRECISION, f"data.batch={batch}") as one, place.ours(PRECISION, DDP, ranks=2) as two:
            seconds = in_turns({"one": one_core()(one.turn), "two": two.turn}, rounds, warm_up=0)
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


def apart(place: Place) -> str:
    """How far losses and gradients of equal steps are apart, of the same small batch on one rank and on two."""
    small = ("data.batch=8",)
    one = place.our_steps("fp32", EQUAL_STEPS, place.data, *small)
    two = place.our_steps("fp32", EQUAL_STEPS, place.data, *small, DDP, ranks=2)
    worst = max(furthest([each[key] for each in one], [each[key] for each in two]) for key in ("loss", "grad_norm"))
    return f"losses and gradient norms of {EQUAL_STEPS} steps within {worst:.0e}"
