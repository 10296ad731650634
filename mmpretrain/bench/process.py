"""Programs as contenders: watched by what they write, held while others have their turn, and ended at last.

A trainer that is started anew for every turn spends most of it on imports and on steps that find new memory. One that
is held between turns pays them once, and takes nothing from the others meanwhile: all of its processes stand still.
"""

import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

from mmpretrain.core.errors import MmpretrainError

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 600

T = TypeVar("T")


class Process:
    """A program and all that it starts, from its start until it is ended."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = " ".join(command)[:200]
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self.began = time.perf_counter()
        self._process = psutil.Popen(command, stdout=self._said, stderr=self._said, cwd=folder, start_new_session=True)
        self._all: list[psutil.Process] = [self._process]

    def until(self, found: Callable[[], T | None], patience: float = PATIENCE_SECONDS) -> T:
        """What is found at last.

        Raises:
            MmpretrainError: the program ended before, or took too long; says the end of what it wrote.
        """
        began = time.perf_counter()
        while (answer := found()) is None:
            spent = time.perf_counter() - began
            if self._process.poll() is not None or spent > patience:
                self._said.seek(0)
                last = " | ".join(self._said.read().strip().splitlines()[-3:])
                raise MmpretrainError(f"{self._command}: no step after {spent:.0f} s: {last}")
            time.sleep(LOOK_SECONDS)
        return answer

    def hold(self) -> None:
        """Let all of its processes stand still; those that start others first."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """At once: nothing that it would still write is wanted."""
        self._send(signal.SIGKILL)
        self._process.wait()
        self._said.close()

    def _send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            # a launcher's ranks and a loader's processes may be groups of their own, and outlive who started them
            self._all = [self._process, *self._process.children(recursive=True)]
        for each in self._all:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)


class Held:
    """A trainer that takes a step a turn; used with `with`, which ends it."""

    def __init__(
        self,
        program: tuple[Sequence[str], Path],
        seconds_of: Callable[[str], list[float]],
        folder: Path,
        unsteady: int,
    ) -> None:
        """Args:
        program: its command, and the file that gets a line a step.
        seconds_of: the steps' seconds that such a text tells.
        unsteady: steps at the start that do not count.
        """
        command, self.file = program
        self._command, self._seconds_of, self._folder = command, seconds_of, folder
        self._count = unsteady
        self._process: Process | None = None
        self._held_since = 0.0

    def __enter__(self) -> "Held":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.end()

    def turn(self) -> float:
        """Seconds of the next step that counts, without those in which it was held."""
        held = 0.0
        if self._process is None:
            self._process = Process(self._command, self._folder)
        else:
            self._process.go_on()
            held = time.perf_counter() - self._held_since
        self._count += 1
        seconds = self._process.until(self._newest)
        self._held_since = time.perf_counter()
        self._process.hold()
        return seconds - held

    def _newest(self) -> float | None:
        """Of the step that is waited for."""
        found = self._seconds_of(lines(self.file))
        return found[self._count - 1] if len(found) >= self._count else None


def lines(file: Path) -> str:
    """What a file says up to its last whole line."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return text[: text.rfind("\n") + 1]
