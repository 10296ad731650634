"""One thread that does all model work, in batches of whatever may be done together."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmpretrain.serving.refusal import busy

Work = Callable[[list[Any]], Sequence[Any]]
"""Rows in, as many results out."""


@dataclass(eq=False)
class Job:
    """A row that waits."""

    key: Hashable
    """Rows of one key are done together."""
    work: Work
    row: Any
    future: "asyncio.Future[Any]"
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Rows wait in one bounded line; the oldest one decides what is done next, and takes others of its key along.

    Args:
        most_rows: of a batch.
        wait: seconds that the first row of a batch waits for others.
        most_waiting: rows in the line.
        told: (rows of a batch, seconds that it took), for figures.
    """

    def __init__(
        self,
        most_rows: int,
        wait: float,
        most_waiting: int,
        told: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self._most_rows = most_rows
        self._wait = wait
        self._most_waiting = most_waiting
        self._told = told
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.peak = 0
        """Most rows that ever waited."""
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows in the line."""
        return len(self._waiting)

    async def do(self, key: Hashable, work: Work, rows: Sequence[Any]) -> list[Any]:
        """What the work says of each row.

        A caller that is cancelled takes its rows out of the line.

        Raises:
            Refused: the line is full.
        """
        loop = asyncio.get_running_loop()
        jobs = [Job(key, work, row, loop.create_future()) for row in rows]
        with self._changed:
            if len(self._waiting) + len(jobs) > self._most_waiting or self._closed:
                raise busy(f"{len(self._waiting)} inputs wait for the model, at most {self._most_waiting} may")
            self._waiting.extend(jobs)
            self.peak = max(self.peak, len(self._waiting))
            self._changed.notify()
        try:
            return list(await asyncio.gather(*(job.future for job in jobs)))
        finally:
            self._drop(jobs)

    async def close(self, seconds: float = 60.0) -> None:
        """No more rows; what waits is done first, if it takes no longer."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, seconds)

    def _drop(self, jobs: list[Job]) -> None:
        """What nobody waits for any more."""
        with self._changed:
            for job in jobs:
                if not job.future.done():
                    job.future.cancel()
            if any(job.future.cancelled() for job in jobs):
                self._waiting = deque(job for job in self._waiting if not job.future.cancelled())

    def _run(self) -> None:
        while batch := self._next():
            began = time.monotonic()
            try:
                results: Sequence[Any] = batch[0].work([job.row for job in batch])
                error = None
            except Exception as raised:  # of any kind: it belongs to those who asked, and the thread lives on
                results, error = [None] * len(batch), raised
            self._told(len(batch), time.monotonic() - began)
            for job, result in zip(batch, results, strict=True):
                deliver(job.future, result, error)
            del batch, results, error  # the next wait must not keep pictures alive

    def _next(self) -> list[Job]:
        """The oldest row and others of its key; nothing: the line is closed and empty."""
        with self._changed:
            while True:
                if not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                first = self._waiting[0]
                batch = [job for job in self._waiting if job.key == first.key][: self._most_rows]
                left = first.arrived + self._wait - time.monotonic()
                if len(batch) == self._most_rows or left <= 0 or self._closed:
                    taken = set(map(id, batch))
                    self._waiting = deque(job for job in self._waiting if id(job) not in taken)
                    return batch
                self._changed.wait(left)


def deliver(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    """Into the loop that waits for it, if it still does."""

    def put() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        future.get_loop().call_soon_threadsafe(put)
    except RuntimeError:  # the loop has ended
        return
