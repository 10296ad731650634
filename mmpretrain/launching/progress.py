"""How far a run is, from what its folder holds."""

import itertools
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.settings import read_yaml
from mmpretrain.launching.attempts import fruitless, newest_step

BLOCKS = "▁▂▃▄▅▆▇█"
RECENT = 10
"""Records of metrics.jsonl whose median says how long a step takes; evaluations and restarts spoil single ones."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The facts of a run; None where the folder does not say."""

    complete: bool
    step: int
    """Of the last line of metrics.jsonl."""
    steps: int | None
    """Of the whole run."""
    checkpoint: int
    """Step that a restart would go on with."""
    samples_per_s: float | None
    data_wait: float | None
    """Share of the time spent waiting for a batch."""
    loss: list[float]
    """One for each line of metrics.jsonl that has one."""
    seconds_a_step: float | None
    seconds_left: float | None
    """Of training, once it runs; None for a complete run too."""
    silent_for: float | None
    """Seconds since the last line."""
    restarts: int
    """Starts after the first one that came as far as training."""
    fruitless: int
    """Starts of its job, the last ones in a row, that have not come to a new checkpoint; this one is among them."""
    results: list[dict[str, Any]]
    """The newest line of results.jsonl for each task, dataset and split."""


def read_progress(run: Run) -> Progress:
    """What the folder says now.

    Raises:
        MmpretrainError: a line of a file is no valid JSON; names the file.
    """
    records = _lines(run, "metrics")
    last = records[-1] if records else {}
    steps = _steps(run)
    step = last.get("step", 0)
    each = _seconds_a_step(records)
    left = each * (steps - step) if each is not None and steps is not None and not run.complete.exists() else None
    results = {(line["task"], line["dataset"], line["split"]): line for line in _lines(run, "results")}
    return Progress(
        complete=run.complete.exists(),
        step=step,
        steps=steps,
        checkpoint=newest_step(run),
        samples_per_s=last.get("samples_per_s"),
        data_wait=last.get("data_wait"),
        loss=[record["loss"] for record in records if "loss" in record],
        seconds_a_step=each,
        seconds_left=left,
        silent_for=max(0.0, time.time() - run.metrics.stat().st_mtime) if records else None,
        restarts=_restarts(run),
        fruitless=fruitless(run, run.job.read_text().strip()) if run.job.is_file() else 0,
        results=list(results.values()),
    )


def _lines(run: Run, name: str) -> list[dict[str, Any]]:
    path = getattr(run, name)
    try:
        return read_json_lines(path)
    except ValueError as error:
        raise MmpretrainError(f"{path}: a line is no valid JSON ({error}); delete that line") from error


def _restarts(run: Run) -> int:
    """As train/restarts.py counts them."""
    return max(0, json.loads(run.restarts.read_text())["total"]) if run.restarts.is_file() else 0


def _steps(run: Run) -> int | None:
    """From the run's config, or from the one that waits in the queue."""
    for path in (run.config, run.folder / "launch" / "config.yaml"):
        if path.is_file():
            return read_yaml(path).get("train", {}).get("steps")
    return None


def _seconds_a_step(records: Sequence[dict[str, Any]]) -> float | None:
    """The median over the last records."""
    each: list[float] = []
    before = 0
    for record in records:
        if record["step"] > before:
            each.append(record["seconds"] / (record["step"] - before))
        before = record["step"]
    return statistics.median(each[-RECENT:]) if each else None


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Means of `width` equal parts as blocks between their least and their greatest; a dot where none is finite."""
    parts = min(width, len(values))
    cuts = [round(part * len(values) / parts) for part in range(parts + 1)] if parts else []
    finite = [[each for each in values[low:high] if math.isfinite(each)] for low, high in itertools.pairwise(cuts)]
    means = [statistics.fmean(part) if part else None for part in finite]
    known = [mean for mean in means if mean is not None]
    if not known:
        return "·" * parts
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join("·" if mean is None else BLOCKS[min(7, int(8 * (mean - low) / span))] for mean in means)
