"""What this process is doing, so that others can say where it stopped."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mmpretrain.core.fault_points import reach

Phase = Literal["load", "data", "forward", "backward", "step", "save", "evaluate"]
_LENGTH = 64


class Progress:
    """The current phase and step, and how often there was any progress.

    With a file, each change is also a write into memory that the file shares: it outlives a process that is killed, and
    costs no call of the system.
    """

    def __init__(self) -> None:
        self.phase = "load"
        self.step = 0
        self.count = 0
        self._waits = False
        self.is_opaque = False
        """Whether a program of others is at work, which says nothing before it ends."""
        self._shared: mmap.mmap | None = None

    def keep_in(self, file: Path | None) -> None:
        """Keep it in a file from now on; None: no longer."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b" " * _LENGTH)
            with file.open("r+b") as opened:
                self._shared = mmap.mmap(opened.fileno(), _LENGTH)
            self._keep()

    def tick(self) -> None:
        """There is progress inside a phase."""
        self.count += 1

    def begin(self, phase: str) -> None:
        """Another phase."""
        self.phase = phase
        self._waits = False
        self.count += 1
        self._keep()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that ends only when other ranks have come to it too; after an error it stays so."""
        self._waits = True
        self._keep()
        yield
        self._waits = False
        self.tick()
        self._keep()

    @contextmanager
    def opaque(self) -> Iterator[None]:
        """A block of others' work that ends by itself, however long it takes, and tells of no progress until then."""
        self.is_opaque = True
        try:
            yield
        finally:
            self.is_opaque = False
            self.tick()

    def _keep(self) -> None:
        if self._shared is not None:
            self._shared[:_LENGTH] = str(self).encode().ljust(_LENGTH)

    def __str__(self) -> str:
        return f"{self.phase} of step {self.step}{', waiting for others' if self._waits else ''}"


progress = Progress()
"""Of this process."""


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """A part of the work; a place for planned faults. After an error it stays the phase: that is where it happened."""
    outer = progress.phase
    progress.begin(name)
    reach(name)
    yield
    progress.begin(outer)


def read_phase(file: Path) -> str | None:
    """What a process, dead or alive, did last; None where it left no file."""
    try:
        return file.read_bytes().decode(errors="replace").strip() or None
    except OSError:
        return None
