"""Row 7: a batch in eight parts by cached features, against open_clip's trainer with `--accum-freq 8`."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmpretrain.bench.costs import step_costs
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import EQUAL_STEPS, LOSS, OUR_WHOLE, THEIR_WHOLE, VIT_S_32, Place, furthest
from mmpretrain.bench.turns import in_turns
from mmpretrain.bench.works import Asked

MICROS, MICRO_BATCH, EXACT_BATCH = 8, 32, 2
UNSTEADY, ROUNDS = 1, 2
PRECISION = "fp32"


def measure(asked: Asked) -> Iterator[Row]:
    """One row."""
    rounds, batch = asked.turns(ROUNDS), MICROS * (1 if asked.small else MICRO_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), VIT_S_32, batch, UNSTEADY + rounds + 1, UNSTEADY, MICROS)
        with place.ours(PRECISION) as ours, place.theirs(PRECISION) as theirs:
            seconds = in_turns({"ours": ours.turn, "theirs": theirs.turn}, rounds, warm_up=0)
    with tempfile.TemporaryDirectory() as folder:
        difference = apart(Place(Path(folder), VIT_S_32, MICROS * EXACT_BATCH, EQUAL_STEPS, 0, MICROS))
    costs = step_costs(VIT_S_32.peer, batch)
    least = statistics.median(seconds["ours"]) / statistics.median(seconds["theirs"])
    rate = costs.ours / costs.theirs / least
    yield Row(
        row="7",
        work=f"{MICROS} accumulated parts of {batch // MICROS}, {VIT_S_32.peer}, {PRECISION}",
        peer=f"open_clip trainer --accum-freq {MICROS}",
        measure="times its samples/s",
        ratio=Ratio.of(seconds["theirs"], seconds["ours"]),
        goal=Goal(1.3),
        rounds=rounds,
        difference=difference,
        # twice forward, once backward
        flops=costs.ours * 4 / 3,
        remarks=(
            f"operations over theirs {costs.ours / costs.theirs:.2f}, operations a second over theirs {rate:.2f}",
        ),
    )


def apart(place: Place) -> str:
    """Of a few steps on one small batch: our losses and gradients in parts and at once, and their losses."""
    parts, once = (
        place.our_steps("fp32", EQUAL_STEPS, place.one_batch, OUR_WHOLE, *more)
        for more in ((), ("train.micro_batches=1",))
    )
    exact = max(furthest([each[key] for each in parts], [each[key] for each in once]) for key in ("loss", "grad_norm"))
    said = place.their_log("fp32", place.one_batch, place.batch, EQUAL_STEPS, *THEIR_WHOLE)
    theirs = furthest([each["loss"] for each in parts], [float(found) for found in LOSS.findall(said)])
    return (
        f"fp32: losses and gradient norms of {EQUAL_STEPS} steps {exact:.0e} from those of the batch at once; "
        f"losses {theirs:.0e} from theirs, whose scale's gradient is {MICROS} times too large"
    )
