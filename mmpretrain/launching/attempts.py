"""Whether a run is to be started (again): read from its folder, because srun and torchrun distort exit codes.

Kept beside train/restarts.py, which decides from which checkpoint a start goes on and so counts those that came to
training. A job also has to end where every start fails before that, on a node without its data say: here each counts.
"""

import datetime
import itertools
import os
from dataclasses import dataclass

from mmpretrain.core.errors import RESTART
from mmpretrain.core.files import append_json_line, read_json_lines, write_atomic
from mmpretrain.core.run import Run, list_checkpoints, step_of


@dataclass(frozen=True)
class Verdict:
    """What is next for a run, and the exit code that says so to a script."""

    exit_code: int
    """0: complete, RESTART: to be started (again), 1: to be left alone."""
    said: str


def newest_step(run: Run) -> int:
    """The step of the newest checkpoint by name, 0 where there is none."""
    return max(map(step_of, list_checkpoints(run.checkpoints)), default=0)


def job_here() -> str | None:
    """The Slurm job that this process belongs to; a requeued job keeps its number."""
    return os.environ.get("SLURM_JOB_ID")


def fruitless(run: Run, job: str | None) -> int:
    """Starts of a job, the last ones in a row, that have not come to a new checkpoint."""
    step = newest_step(run)
    last = reversed(read_json_lines(run.attempts))
    return sum(1 for _ in itertools.takewhile(lambda start: start["job"] == job and start["step"] >= step, last))


def judge(run: Run, restarts: int) -> Verdict:
    """Complete, to be started (again), or stopped for want of progress.

    Args:
        restarts: starts in a row, after a first one, that may end without a new checkpoint. Those of other jobs do not
            count: a job submitted anew has its own.
    """
    if run.complete.exists():
        return Verdict(0, f"{run.folder}: complete")
    step = newest_step(run)
    if fruitless(run, job_here()) > restarts:
        return Verdict(
            1,
            f"{run.folder}: stop: no progress in {restarts} restarts, still at step {step}; the reason stands in "
            f"{run.logs}, then submit the job again",
        )
    return Verdict(RESTART, f"{run.folder}: requeue, goes on at step {step}")


def note_attempt(run: Run) -> None:
    """Keep that a start follows, before anything in it can fail."""
    run.folder.mkdir(parents=True, exist_ok=True)
    job = job_here()
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    append_json_line(run.attempts, {"date": date, "step": newest_step(run), "job": job})
    if job is not None:
        write_atomic(run.job, f"{job}\n")
