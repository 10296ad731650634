"""Row 15: from the command to the end of the first training step, against open_clip's trainer.

What a user waits for: the interpreter, imports, data, model, weights, loader and one step. Both processes are watched
from outside, by the line that each writes after a step, and ended there.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import LOSS, OUR_WHOLE, THEIR_WHOLE, VIT_S_32, Place
from mmpretrain.bench.turns import in_turns
from mmpretrain.bench.works import Asked
from mmpretrain.core.errors import MmpretrainError

ROUNDS = 5
LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 120
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
        place = Place(Path(folder), VIT_S_32, 2 if asked.small else VIT_S_32.batch, VIT_S_32.steps, 0)

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
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=folder, start_new_session=True)
        try:
            while not (found := line.search(file.read_text() if file.is_file() else "")):
                spent = time.perf_counter() - began
                if process.poll() is not None or spent > PATIENCE_SECONDS:
                    said.seek(0)
                    last = " | ".join(said.read().strip().splitlines()[-3:])
                    raise MmpretrainError(f"{' '.join(command)[:200]}: no step after {spent:.0f} s: {last}")
                time.sleep(LOOK_SECONDS)
            return time.perf_counter() - began, found[1]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its loader too; the group is this process's own
            process.wait()
