"""When checkpoints are written, beside training or not, and what happens when the disk does not take them."""

import os
import sys
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from mmpretrain.core.distributed import on_main, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.run import list_checkpoints, step_of
from mmpretrain.train import checkpoint
from mmpretrain.train.checkpoint import Snapshot

LOWEST = 19


class Saver:
    """Writes snapshots on the main rank, one at a time; the others only take part in taking them.

    Args:
        root: the run's checkpoints folder.
        keep: newest checkpoints that stay.
        beside: write from a thread while training goes on.
        failed: told the step of a checkpoint that could not be written, and why.
        written: told the step of each that was.
    """

    def __init__(
        self,
        root: Path,
        keep: int,
        beside: bool,
        failed: Callable[[int, str], None],
        written: Callable[[int], None],
    ) -> None:
        self._root = root
        self._keep = keep
        self._beside = beside
        self._failed = failed
        self._written = written
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        self.protected: Collection[int] = ()
        """Steps whose checkpoints stay besides the newest."""

    def save(self, taken: Snapshot, now: bool) -> None:
        """Write a snapshot. A disk that does not take it costs this checkpoint and no other: training goes on.

        Args:
            now: return when it is written.

        Raises:
            MmpretrainError: with `now`, on every rank: it could not be written.
        """
        if world().is_main:
            self._wait()
            if self._beside and not now:
                self._thread = threading.Thread(target=self._write_beside, args=(taken,), name="checkpoint")
                self._thread.start()
            else:
                self._write(taken)
        if now:
            on_main(partial(self._raise_failure, taken.step))

    def has(self, step: int) -> bool:
        """Whether a step's checkpoint is there, once what is being written is; every rank calls."""
        self.finish()
        return on_main(lambda: step in map(step_of, list_checkpoints(self._root)))

    def finish(self) -> None:
        """Wait for what is being written."""
        self._wait()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write_beside(self, taken: Snapshot) -> None:
        if sys.platform == "linux":  # where niceness is a thread's own: training goes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        self._write(taken)

    def _write(self, taken: Snapshot) -> None:
        self._failure = None
        try:
            written = checkpoint.write(self._root, taken)
            checkpoint.prune(self._root, self._keep, self.protected, written)
            self._written(taken.step)
        except OSError as error:
            newest, _ = checkpoint.find_newest(self._root)
            there = f"the newest is of step {step_of(newest)}" if newest else "there is none yet"
            self._failure = f"{self._root}: the checkpoint of step {taken.step} was not written: {error}; {there}"
            self._failed(taken.step, self._failure)

    def _raise_failure(self, step: int) -> None:
        if self._failure is not None:
            raise MmpretrainError(f"{self._failure}; free some space, and the same command resumes from there")
