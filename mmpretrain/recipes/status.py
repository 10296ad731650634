"""Where a run stands: its folder, and the queue where it waits or runs in one."""

import dataclasses
import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.launching.progress import Progress, read_progress, sparkline
from mmpretrain.launching.slurm import job_facts


def status(folder: Path, console: Console) -> dict[str, Any]:
    """Print where a run stands, and return it.

    Raises:
        ConfigError: there is neither a run nor one that was launched.
    """
    run = Run(folder)
    if not (run.config.is_file() or run.job.is_file() or run.attempts.is_file()):
        raise ConfigError(f"{folder}: neither a run nor one that was launched; mmpretrain launch --help")
    progress = read_progress(run)
    queue = queue_facts(run)
    console.print(table(folder, progress, queue))
    console.print(next_command(folder, progress), soft_wrap=True)
    return {"folder": str(folder), **dataclasses.asdict(progress), "queue": queue}


def queue_facts(run: Run) -> dict[str, str] | None:
    """The job of the run as Slurm tells it; None for a run without one."""
    if not run.job.is_file():
        return None
    job = run.job.read_text().strip()
    facts = job_facts(job)
    if facts is None:
        return {"job": job, "state": "unknown"}
    names = {"state": "JobState", "reason": "Reason", "nodes": "NodeList", "time": "RunTime", "limit": "TimeLimit"}
    return {
        "job": job,
        **{name: facts.get(key, "") for name, key in names.items()},
        "starts": facts.get("StartTime", ""),
    }


def table(folder: Path, progress: Progress, queue: dict[str, str] | None) -> Table:
    """The facts that are there, one a line."""
    shown = Table("what", "value", title=f"status of {folder}")
    for name, value in (
        ("queue", told_queue(queue)),
        ("step", f"{progress.step:,}{f' of {progress.steps:,}' if progress.steps else ''}{told_silence(progress)}"),
        ("samples/s", told_rate(progress)),
        ("loss", f"{sparkline(progress.loss)} {progress.loss[-1]:.3f}" if progress.loss else ""),
        ("checkpoint", f"step {progress.checkpoint:,}" if progress.checkpoint else "none yet"),
        ("restarts", told_restarts(progress)),
        ("time left", duration(progress.seconds_left) if progress.seconds_left is not None else ""),
        *((f"{line['task']} {line['dataset']}:{line['split']}", told_result(line)) for line in progress.results),
    ):
        if value:
            shown.add_row(name, value)
    return shown


def told_queue(queue: dict[str, str] | None) -> str:
    if queue is None:
        return ""
    if queue["state"] == "unknown":
        return f"job {queue['job']}: Slurm does not know it (any more), or is not here"
    state = f"job {queue['job']}: {queue['state'].lower()}"
    if queue["state"] == "RUNNING":
        return f"{state} for {queue['time']} of {queue['limit']} on {queue['nodes']}"
    begins = f", not before {queue['starts']}" if queue["reason"] == "BeginTime" else ""
    reason = f" ({queue['reason']})" if queue["reason"] not in ("", "None") else ""
    return f"{state}{reason}{begins}"


def told_silence(progress: Progress) -> str:
    """When the step was told, where that says something."""
    if progress.complete:
        return ", complete"
    return f", {duration(progress.silent_for)} ago" if progress.silent_for is not None else ""


def told_rate(progress: Progress) -> str:
    if progress.samples_per_s is None or progress.data_wait is None:
        return ""
    return f"{progress.samples_per_s:,.0f}, waiting for data {100 * progress.data_wait:.1f} % of the time"


def told_restarts(progress: Progress) -> str:
    """With a word where the next ones will lead nowhere either."""
    if progress.fruitless < 2 or progress.complete:
        return str(progress.restarts)
    return f"{progress.restarts}; the last {progress.fruitless} starts have not come to a new checkpoint"


def told_result(line: dict[str, Any]) -> str:
    """The first metric of an evaluation."""
    name, figure = next(iter(line["metrics"].items()))
    return f"{name} {figure['value']:.3f} at step {line['step']:,}"


def duration(seconds: float) -> str:
    """Days, hours, minutes and seconds as 1 day, 2:03:04."""
    return str(datetime.timedelta(seconds=round(seconds)))


def next_command(folder: Path, progress: Progress) -> str:
    if progress.complete:
        return f"next: mmpretrain report {folder}"
    if any((folder / "logs").glob("*.log")):
        return f"next: tail -f {folder}/logs/*.log"
    return f"next: mmpretrain pretrain {folder}, if it does not run"
