"""How often a run was started from the same checkpoint without coming to the next."""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import list_checkpoints, step_of
from mmpretrain.train import checkpoint

LIMIT = 2
"""Starts from one checkpoint; the next one goes back to the checkpoint before."""


class Choice(NamedTuple):
    """Where a start goes on from."""

    folder: Path | None
    complaints: list[str]
    """Why not from a newer one."""


class Restarts:
    """Kept in the run folder; a checkpoint that is written ends the count."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, int]:
        """`step` of the last start, `starts` from it, and `total` starts of the run after the first."""
        nothing = {"step": -1, "starts": 0, "total": -1}
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {key: int(found[key]) for key in nothing}
        except (OSError, ValueError, KeyError, TypeError):
            return nothing

    def begin(self, step: int) -> None:
        """Note a start from a step."""
        last = self.read()
        starts = last["starts"] + 1 if last["step"] == step else 1
        self._write({"step": step, "starts": starts, "total": last["total"] + 1})

    def progressed(self) -> None:
        """A checkpoint was written. A count that the disk does not take is no reason to stop."""
        last = self.read()
        if last["starts"]:
            with contextlib.suppress(OSError):
                self._write({**last, "starts": 0})

    def _write(self, content: dict[str, int]) -> None:
        write_atomic(self._file, json.dumps(content))

    def choose(self, root: Path, last_step: int) -> Choice:
        """The newest checkpoint that verifies, or the one before when starts from the newest lead nowhere.

        Args:
            last_step: of the run; from there no start comes to another checkpoint, and none is to be taken again.
        """
        newest, complaints = checkpoint.find_newest(root)
        last = self.read()
        if newest is not None and step_of(newest) == last_step:
            return Choice(newest, complaints)
        if newest is None or last["step"] != step_of(newest) or last["starts"] < LIMIT:
            return Choice(newest, complaints)
        before = [folder for folder in list_checkpoints(root) if folder.name < newest.name]
        earlier = next((folder for folder in reversed(before) if checkpoint.verify(folder) is None), None)
        if earlier is None:
            return Choice(newest, complaints)
        told = f"{newest}: {last['starts']} starts from it did not come to another checkpoint"
        return Choice(earlier, [*complaints, told])
