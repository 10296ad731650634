"""The page of a run: once, or again and again while it trains, for a browser that reloads it from the disk."""

import time
from pathlib import Path

from rich.console import Console

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.lock import is_held
from mmpretrain.core.run import Run
from mmpretrain.report.page import write_report

PATIENCE = 600.0
"""Seconds without a new line after which a run is taken for dead on a disk that has no locks."""


def report(folder: Path, console: Console) -> Path:
    """Write the page once."""
    page = write_report(Run.open(folder))
    console.print(f"{page}: open it in a browser", soft_wrap=True)
    return page


def watch(folder: Path, every: int, console: Console) -> Path:
    """Write the page whenever the run has told something new, until it has ended.

    Args:
        every: seconds between looks at the folder, and between the page's own reloads.

    Raises:
        MmpretrainError: nobody trains the run any more, though it is not complete; the page says how far it is.
    """
    run = Run.open(folder)
    console.print(f"{run.report}: open it in a browser; it follows the run, Ctrl-C ends that", soft_wrap=True)
    try:
        _follow(run, every, console)
    except BaseException:  # the page is not to reload what nobody writes any more
        write_report(run)
        raise
    console.print(f"{write_report(run)}: the run is complete", soft_wrap=True)
    return run.report


def _follow(run: Run, every: int, console: Console) -> None:
    shown: object = None
    waits = False
    while True:
        # first whether it is at work: a run that completes in between is complete
        at_work, there = is_at_work(run), state_of(run)
        if run.complete.exists():
            return
        if there != shown:
            write_report(run, every)
            shown = there
        if not at_work and not run.job.is_file():
            raise MmpretrainError(
                f"{run.folder}: nobody trains this run, it ended at step {last_step(run)} before it was complete; "
                f"mmpretrain pretrain {run.config} resumes it"
            )
        if not at_work and not waits:
            console.print(f"{run.folder}: nobody trains this run now; its job may start again", soft_wrap=True)
        waits = not at_work
        time.sleep(every)


def is_at_work(run: Run) -> bool:
    """Whether a process holds the run; where the disk cannot say so, whether it told something lately."""
    held = is_held(run.lock)
    if held is not None:
        return held
    files = [file for file in (run.metrics, run.config) if file.exists()]
    return time.time() - max(file.stat().st_mtime for file in files) < PATIENCE


def state_of(run: Run) -> list[int]:
    """Changes when the run has told something new."""
    files = (run.metrics, run.results, run.events, run.ledger, run.skips)
    return [file.stat().st_size if file.exists() else 0 for file in files]


def last_step(run: Run) -> int:
    lines = read_json_lines(run.metrics)
    return int(lines[-1]["step"]) if lines else 0
