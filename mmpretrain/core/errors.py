"""Errors that a person reads: one line that names the thing and the remedy, and an exit code for scripts."""

import signal
from typing import Any

RESTART = 85
"""Exit code of a run that was told that its time is nearly up: saved, start me again."""


class MmpretrainError(Exception):
    """A failure with a one-line cause; ends the command with `exit_code`."""

    exit_code = 1
    on_every_rank = False
    """All ranks raise it together, so that one of them telling it is enough."""


class ConfigError(MmpretrainError):
    """Usage or config: everything that is wrong, one line each."""

    exit_code = 2


class DataError(MmpretrainError):
    """Shards, cards or samples that cannot be used as they are."""

    exit_code = 3
    faults: tuple[Any, ...] = ()
    """Samples that led to it and are in no batch: the ledger takes them all the same."""


class QualityError(MmpretrainError):
    """A figure fell short of what `--fail-under` asked for."""

    exit_code = 4


class Interrupted(MmpretrainError):
    """A signal ended the run after its checkpoint was saved: 128 + signal number, or RESTART for SIGUSR1."""

    on_every_rank = True

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = RESTART if signal_number == signal.SIGUSR1 else 128 + signal_number

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, str]]:
        return Interrupted, (self.signal_number, str(self))
