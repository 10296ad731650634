"""Numbers on their way to a tracker, in a thread of its own: one that fails or hangs costs its numbers and no step."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from mmpretrain.track.base import Origin, Tracker
from mmpretrain.track.build import TrackerSettings

WAITING = 1000
"""Lines that a tracker may be behind; of more, the newest are not told to it."""
PATIENCE = 10.0
"""Seconds that the end of a run waits for trackers, all together."""
Add = Callable[[int, Mapping[str, Any]], None]


class Feed:
    """One tracker's thread.

    Args:
        build: opens the tracker; called in the thread, because it may take long too.
        say: told once what goes wrong.
    """

    def __init__(
        self, name: str, build: Callable[[], Tracker], say: Callable[[str], None], waiting: int = WAITING
    ) -> None:
        self._name = name
        self._build = build
        self._say = say
        self._lines: queue.Queue[tuple[int, dict[str, float]] | None] = queue.Queue(waiting)
        self._complained = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"track {name}", daemon=True)
        self._thread.start()

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Hand a line over; returns at once."""
        if self._over.is_set():
            return
        try:
            self._lines.put_nowait((step, dict(numbers)))
        except queue.Full:
            self._complain(f"has not taken {self._lines.maxsize:,} lines, newer ones are not told to it")

    def close(self, deadline: float) -> None:
        """Wait for what is on its way, until a moment of time.monotonic()."""
        while self._thread.is_alive():
            left = deadline - time.monotonic()
            try:
                self._lines.put(None, timeout=max(0.0, left))
                break
            except queue.Full:
                if left <= 0:
                    break
        self._thread.join(timeout=max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._complain("did not end in time; its last numbers may be missing")

    def _run(self) -> None:
        try:
            tracker = self._build()
            while (line := self._lines.get()) is not None:
                tracker.add(*line)
                if self._lines.empty():
                    tracker.flush()
            tracker.close()
        except BaseException as error:  # some end a process where they fail
            self._over.set()
            first = next(iter(str(error).splitlines()), "")
            self._complain(f"failed and is left out: {type(error).__name__}: {first}")
        finally:
            self._over.set()

    def _complain(self, what: str) -> None:
        if not self._complained.is_set():
            self._complained.set()
            self._say(f"track: {self._name} {what}; the run goes on, metrics.jsonl has every line")


@contextmanager
def tracking(chosen: Sequence[TrackerSettings], origin: Origin, say: Callable[[str], None]) -> Iterator[Add]:
    """A callable that hands the numbers of a line to all trackers; it neither raises nor waits."""
    feeds = [Feed(each.kind, partial(each.build, origin), say) for each in chosen]

    def add(step: int, line: Mapping[str, Any]) -> None:
        for feed in feeds:
            feed.add(step, numbers_in(line))

    try:
        yield add
    finally:
        deadline = time.monotonic() + PATIENCE
        for feed in feeds:
            feed.close(deadline)


def numbers_in(line: Mapping[str, Any]) -> dict[str, float]:
    """What of a line is a number, without its step."""
    return {
        name: float(value)
        for name, value in line.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def numbers_of_result(record: Mapping[str, Any], home: str) -> dict[str, float]:
    """The values of a line of results.jsonl as SPLIT/TASK/METRIC; of another dataset as DATASET:SPLIT/...

    Args:
        home: the dataset that the run learns from.
    """
    split = record["split"] if record["dataset"] == home else f"{record['dataset']}:{record['split']}"
    of = record.get("head") or record["task"]
    return {f"{split}/{of}/{metric}": float(figure["value"]) for metric, figure in record["metrics"].items()}
