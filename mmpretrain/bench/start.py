"""Row 15: from the command to the end of the first training step, against open_clip's trainer.

What a user waits for: the interpreter, imports, data, model, weights, loader and one step. Both processes are watched
from outside, by the line that each writes after a step, and ended there.
"""

import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpretrain.bench.process import Process, lines
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import LOSS, OUR_WHOLE, THEIR_WHOLE, VIT_S_32, Place
from mmpretrain.bench.turns import in_turns
from mmpretrain.bench.works import Asked

ROUNDS = 5
WHY = (
    "two thirds of the time are imports, most of which both have: torch 0.24, torchvision with torch._dynamo 0.18, "
    "open_clip with timm 0.12; building the model and reading its weights 0.12, the first step 0.24, of which AdamW's "
    "new memory is two thirds. Tried: shapes alone where a file of weights is checked (a model's memory less), large "
    "pages, new memory for the weights behind the loader's fork (both took as long)"
)
"""By a profile of one start, should the goal be missed."""
OUR_LINE = re.compile(r"^(\{.*\})\n", re.MULTILINE)


def measure(asked: Asked) -> Iterator[Row]:
    """One row; each trainer starts once before, so that its files are in memory."""
    rounds = asked.turns(ROUNDS)
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), VIT_S_32, 2 if asked.small else VIT_S_32.batch, 1, 0)

        def ours() -> float:
            command, said = place.our_command("fp32", 1, place.one_batch, OUR_WHOLE)
            seconds, line = until(command, said, OUR_LINE, place.folder)
            losses["ours"] = json.loads(line)["loss"]
            return seconds

        def theirs() -> float:
            command, said = place.their_command("fp32", place.one_batch, place.batch, 1, *THEIR_WHOLE)
            seconds, loss = until(command, said, LOSS, place.folder)
            losses["theirs"] = float(loss)
            return seconds

        seconds = in_turns({"ours": ours, "theirs": theirs}, rounds, warm_up=0 if asked.small else 1)
    ratio, goal = Ratio.of(seconds["ours"], seconds["theirs"]), Goal(0.7, at_least=False)
    yield Row(
        row="15",
        work=f"start to first training step, {VIT_S_32.peer}, batch {place.batch}, weights from a file, fp32",
        peer="open_clip trainer",
        measure="time over theirs",
        ratio=ratio,
        goal=goal,
        rounds=rounds,
        remarks=() if goal.met_by(ratio.median) else (WHY,),
        difference=f"first loss within {abs(losses['ours'] / losses['theirs'] - 1):.0e}",
    )


def until(command: Sequence[str], file: Path, line: re.Pattern[str], folder: Path) -> tuple[float, str]:
    """Seconds from the start of a process until its file has such a line, and what the line says; then it is ended.

    Raises:
        MmpretrainError: it ended before, or took too long; says the end of what it wrote.
    """
    process = Process(command, folder)
    try:
        found = process.until(lambda: line.search(lines(file)))
        return time.perf_counter() - process.began, found[1]
    finally:
        process.end()
