"""What a tracker is: numbers go in, and nothing comes back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the numbers come from."""

    folder: Path
    """Of the run."""
    identity: str
    """The same for all starts of a run, and of no other one."""
    step: int
    """That the run starts from, or resumes from: what was told of later ones is taken again."""
    config: dict[str, Any]


class Tracker(Protocol):
    """One open connection; used by one thread alone."""

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step, by the names of metrics.jsonl."""

    def flush(self) -> None:
        """Nothing else is waiting: keep what was added."""

    def close(self) -> None:
        """The run has ended."""
