"""Numbers of the run: averaged over some steps, written as JSON lines, shown as a bar or as plain lines."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmpretrain.train.step import StepResult

PLAIN_LINE_SECONDS = 10.0
OF_THE_MACHINE = ("samples_per_s", "data_wait", "seconds", "step_p50", "step_p95", "memory")
"""Numbers of a line that are others when the same run is taken again."""


class Meter:
    """Sums over the steps since the last record."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._since = self._began = time.perf_counter()
        self._steps = self._skipped = 0
        self._waited = 0.0
        self._taken: list[float] = []
        self._sums: dict[str, float] = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is time without data; a step begins with it."""
        self._began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - self._began

    def add(self, result: StepResult) -> None:
        """A step has ended."""
        self._taken.append(time.perf_counter() - self._began)
        self._steps += 1
        self._skipped += not result.applied
        if result.applied:
            for name, value in {**result.metrics, "grad_norm": result.grad_norm}.items():
                self._sums[name] = self._sums.get(name, 0.0) + value

    def record(self, step: int, batch: int, rate: float) -> dict[str, Any]:
        """The line for metrics.jsonl, and a new start.

        Rates are per second of wall time; `data_wait` is the share of it spent waiting for a batch. `step_p50` and
        `step_p95` are seconds of single steps, without what happens between them now and then.
        """
        seconds = time.perf_counter() - self._since
        middle, slow = np.percentile(self._taken, (50, 95)).tolist()
        applied = self._steps - self._skipped
        line = {
            "step": step,
            "samples_seen": step * batch,
            **{name: value / applied for name, value in self._sums.items()},
            "rate": rate,
            "samples_per_s": self._steps * batch / seconds,
            "data_wait": self._waited / seconds,
            "seconds": seconds,
            "step_p50": middle,
            "step_p95": slow,
            "skipped": self._skipped,
        }
        self._reset()
        return line


class Display:
    """A bar on a terminal, a plain line every few seconds elsewhere, nothing off the main rank."""

    def __init__(self, console: Console, shown: bool, start: int, steps: int) -> None:
        self._console = console
        self._shown = shown
        self._steps = steps
        self._began = time.perf_counter()
        self._start = start
        self._last_line = 0.0
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("training", total=steps, completed=start, numbers="")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def step(self, step: int, record: dict[str, Any] | None) -> None:
        """Show that `step` steps are done; `record` holds numbers when there are new ones."""
        self._bar.update(self._task, completed=step)
        if record:
            self._bar.update(self._task, numbers=self._numbers(record))
        now = time.perf_counter()
        due = step == self._steps or now - self._last_line >= PLAIN_LINE_SECONDS
        if record and due and self._shown and not self._console.is_terminal:
            self._last_line = now
            left = (now - self._began) / (step - self._start) * (self._steps - step)
            self._console.print(
                f"step {step}/{self._steps}  {self._numbers(record)}  {left:.0f} s left", soft_wrap=True
            )

    def say(self, text: str) -> None:
        if self._shown:
            self._console.print(text, soft_wrap=True)

    @staticmethod
    def _numbers(record: dict[str, Any]) -> str:
        return (
            f"loss {record.get('loss', float('nan')):.3f}  {record['samples_per_s']:.0f} samples/s  "
            f"data wait {100 * record['data_wait']:.1f} %"
        )
