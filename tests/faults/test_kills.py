"""kill -9 at any moment: the run ends bit for bit as the one that was never killed."""

import random
from collections.abc import Callable

import pytest

from mmpretrain.train import checkpoint
from tests.faults.conftest import FULL, SEED, engine
from tests.faults.harness import Account, Trial, kill_after, same, sample

RANKS = (1, 2, 4)
SAVES = 4
"""Of the toy run: steps 2, 4, 6 and 8."""
FILES = 3
"""Tensor files of a checkpoint, each a place."""
BOUNDARIES = [
    *(("save.file", count) for count in range(1, SAVES * FILES + 1)),
    *((point, count) for point in ("save", "save.manifest", "save.rename", "save.latest") for count in (1, 2, 3, 4)),
    *(("save.prune", count) for count in (1, 2)),
    *((point, count) for point in ("data", "forward", "backward", "step") for count in (1, 3, 6)),
    *(("evaluate", 1), ("load", 1)),
]
MOMENTS = 50


def cases() -> list[tuple[int, str | float]]:
    """(ranks, place or seconds); 60 places and 50 moments."""
    draw = random.Random(SEED)
    places = [(RANKS[number % 3], f"{point}=kill@{count}") for number, (point, count) in enumerate(BOUNDARIES * 2)][:60]
    return [*places, *((draw.choice(RANKS), draw.uniform(0.2, 2.5)) for _ in range(MOMENTS))]


@pytest.mark.faults
@pytest.mark.timeout(2400 if FULL else 240)
def test_a_run_that_was_killed_anywhere_ends_as_one_that_was_not(
    trial: Callable[..., Trial], account: Callable[[str, str], Account]
) -> None:
    row = account("kill -9, then the same command", "final state bitwise equal; never without a loadable checkpoint")
    wholes = {}
    chosen = sample(cases(), None if FULL else 6, SEED)
    for ranks in sorted({ranks for ranks, _ in chosen}):
        whole = trial(f"whole{ranks}")
        assert whole.go(ranks, more=engine(ranks)).codes == [0] * ranks
        wholes[ranks] = whole.final()
    for number, (ranks, how) in enumerate(chosen):
        killed = trial(f"killed{number}")
        if isinstance(how, str):
            # the main rank alone writes; elsewhere any may die
            victim = 0 if how.startswith("save.") else number % ranks
            ended = killed.go(ranks, f"{how}#{victim}", engine(ranks))
        else:
            ended = killed.go(ranks, more=engine(ranks), during=kill_after(how))
        newest, _ = checkpoint.find_newest(killed.run.checkpoints)
        saved = any(killed.run.checkpoints.glob("step_*[0-9]"))
        loadable = newest is not None or not saved
        # killed after its last word, a run is complete all the same
        done = killed.run.complete.exists()
        again = ended if done else killed.go(ranks, more=engine(ranks))
        fine = loadable and (done or set(again.codes) == {0}) and same(killed.final(), wholes[ranks])
        row.note(fine, f"{ranks} ranks, {how}: {again.codes} {again.output[-1500:]}")
