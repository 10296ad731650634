"""What Slurm knows and takes: the state of a job, a script to queue, a limit of time."""

import re
import subprocess
from pathlib import Path

from mmpretrain.core.errors import ConfigError, MmpretrainError

UNFINISHED = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESIZING")
"""States of a job that may still write (man squeue, job state codes)."""
_ANSWER_SECONDS = 30
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def seconds_of(time: str) -> int:
    """Seconds of a limit in Slurm's notation: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S (man sbatch, --time).

    Raises:
        ConfigError: it is none of these.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise ConfigError(f"--time: {time!r} is no limit; use H:M:S such as 24:00:00, D-H:M:S, or minutes")
    parts = [int(part) for part in match.group("first", "second", "third") if part is not None]
    if match["days"] is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return ((int(match["days"]) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(parts) < 3:
        parts = [0, *parts, 0][:3]
    return (parts[0] * 60 + parts[1]) * 60 + parts[2]


def submit(script: Path) -> str:
    """Queue a script; returns the number of its job.

    Raises:
        MmpretrainError: there is no Slurm here, or it refuses the script.
    """
    answer = _ask("sbatch", "--parsable", str(script))
    if answer is None:
        raise MmpretrainError("sbatch is not on the PATH; submit on a machine that has Slurm")
    if answer.returncode != 0:
        raise MmpretrainError(f"{script}: {' '.join(answer.stderr.split())}")
    return answer.stdout.strip().partition(";")[0]


def job_facts(job: str) -> dict[str, str] | None:
    """What `scontrol show job` says (JobState, Reason, NodeList, RunTime, TimeLimit, Restarts, ...).

    None where Slurm is not here, does not answer, or has forgotten the job, which it does minutes after its end.
    """
    answer = _ask("scontrol", "--oneliner", "show", "job", job)
    if answer is None or answer.returncode != 0:
        return None
    return dict(re.findall(r"(\w+)=(\S*)", answer.stdout))


def _ask(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
