"""What ends a run in good order: a signal, or steps that keep failing."""

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

import numpy as np

from mmpretrain.core.distributed import gather_objects
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.train.step import StepResult

Policy = Literal["off", "warn", "skip"]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SAME_SECONDS = 1.0
WINDOW, LEAST, BEFORE = 200, 50, 10
"""Steps that a loss is compared with: at most, and at least; and those whose median it is held against."""
LEAST_LOSS = 1e-6


class StopRequest:
    """Set by the first SIGINT, SIGTERM or SIGUSR1; a second one ends the process at once.

    SIGUSR1 is how Slurm says that the time is nearly up: the run is to be started again. A launcher passes on what the
    terminal has already sent, so what follows within a second is the same request.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
        elif now - self._since > SAME_SECONDS:
            os._exit(128 + number)  # not by an exception, which would wait for threads and processes to end

    @property
    def wants_restart(self) -> bool:
        """Whether the run is to go on in another allocation."""
        return self.signal == signal.SIGUSR1

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take the signals over for the length of a block."""
        held = {number: signal.signal(number, self._receive) for number in STOPS}
        try:
            yield self
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)


class SkipGuard:
    """Counts steps in a row that were kept from the weights, and ends the run when there are too many."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = 0

    def see(self, step: int, result: StepResult) -> None:
        """Note a step.

        Raises:
            MmpretrainError: `limit` steps in a row were skipped, on every rank; names samples of the last one.
        """
        self.in_a_row = self.in_a_row + 1 if result.refused else 0
        if self.in_a_row >= self.limit:
            error = MmpretrainError(
                f"step {step}: {result.refused}, and {self.in_a_row} steps in a row were skipped; lower "
                f"optim.schedule.rate, or look at the samples of this step: {', '.join(result.suspects[:8])}"
            )
            error.on_every_rank = True
            raise error


class SpikeGuard:
    """Finds losses far above those of the last steps.

    The logarithm of a loss is held against the median of the few before it, because losses fall. Far is `sigmas` robust
    standard deviations of such differences over the last steps (1.4826 times their median absolute value), or sigmas
    per cent where they vary less. Losses are the full batch's, so every rank finds the same.
    """

    def __init__(self, policy: Policy, sigmas: float) -> None:
        self.policy = policy
        self.sigmas = sigmas
        self.recent: deque[float] = deque(maxlen=WINDOW)

    def complaint(self, loss: float) -> str | None:
        """What is wrong with a step's loss, where the policy is to skip it."""
        return self.spike(loss) if self.policy == "skip" else None

    def spike(self, loss: float) -> str | None:
        """How a loss stands out, if it does."""
        if self.policy == "off" or len(self.recent) < LEAST:
            return None
        *logs, now = np.log(np.maximum([*self.recent, loss], LEAST_LOSS))
        medians = np.median(np.lib.stride_tricks.sliding_window_view(logs, BEFORE), axis=1)
        deviation = float(np.median(np.abs(logs[BEFORE:] - medians[:-1])))
        far = (now - medians[-1]) / max(1.4826 * deviation, 0.01)
        return f"loss {loss:.4g} is {far:.0f} deviations above the last steps'" if far > self.sigmas else None

    def see(self, loss: float) -> None:
        """Remember the loss of a step that was taken."""
        if self.policy != "off":
            self.recent.append(loss)


def compare_replicas(engine: Any, step: int) -> None:
    """Hold the ranks' copies of the weights against each other: memory that flips a bit says nothing by itself.

    Raises:
        MmpretrainError: some differ, on every rank; names the ranks that differ from most.
    """
    found = gather_objects(engine.fingerprint())
    ((usual, count), *others) = Counter(found).most_common()
    if not others:
        return
    odd = [rank for rank, each in enumerate(found) if each != usual]
    sure = count > len(found) / 2
    who = f"rank{'s' * (len(odd) > 1)} {', '.join(map(str, odd))}" if sure else "the ranks"
    error = MmpretrainError(
        f"step {step}: the weights of {who} differ from {'the others' if sure else 'each other'}, though all copies "
        "took the same steps: look at the memory of that machine; the same command resumes from the last checkpoint"
    )
    error.on_every_rank = True
    raise error
