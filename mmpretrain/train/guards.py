"""What ends a run in good order: a signal, or steps that keep failing."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from mmpretrain.core.batch import Batch
from mmpretrain.core.errors import MmpretrainError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""USR1 is how a queue announces the end of the time that it gave."""


class StopRequest:
    """Set by the first SIGINT, SIGTERM or SIGUSR1; the second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise SystemExit(128 + number)
        self.signal = number

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take the signals over for the length of a block."""
        held = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)


class SkipGuard:
    """Counts steps in a row that were skipped for non-finite values, and ends the run when there are too many."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = 0

    def see(self, step: int, applied: bool, batches: Sequence[Batch]) -> None:
        """Note a step.

        Raises:
            MmpretrainError: `limit` steps in a row were skipped; names samples of the last one.
        """
        self.in_a_row = 0 if applied else self.in_a_row + 1
        if self.in_a_row >= self.limit:
            keys = [key for batch in batches for key in batch.keys][:8]
            raise MmpretrainError(
                f"step {step}: loss or gradient was not finite in {self.in_a_row} steps in a row; lower "
                f"optim.schedule.rate, or look at the samples of this step: {', '.join(keys)}"
            )
