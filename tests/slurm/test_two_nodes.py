"""Jobs on a real Slurm of two nodes: their time ends, a node dies, and nothing of it shows in the weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpretrain.core.files import read_json_lines, sha256
from mmpretrain.core.run import list_checkpoints, step_of
from mmpretrain.launching.slurm import seconds_of
from mmpretrain.train.metrics import OF_THE_MACHINE
from tests.slurm.cluster import NODES, Cluster, free_ports, has_pending, wait_until, why_not

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY = 60, 10
CONFIG = (
    "quickstart",
    "data.batch=16",
    "data.workers=0",
    "data.tokenizer.context_length=16",
    "towers.image.size=32",
    "towers.text.width=32",
    "towers.text.layers=1",
    "towers.embedding=32",
    "optim.schedule.warmup=5",
    "engine.kind=deepspeed",
    "engine.precision=fp32",
    f"train.steps={STEPS}",
    "train.log_every=1",
    f"train.save_every={SAVE_EVERY}",
    "train.evaluate_every=null",
    "evaluation=[]",
)

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        assert "REQUIRE_SLURM" not in os.environ, reason
        pytest.skip(f"no Slurm here: {reason}")
    # a short name: Slurm keeps sockets in it, whose paths may have 108 letters
    slurm = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    # the seconds until a dead node is given up: a script says 30 where nobody does
    slurm.environment |= {"SLURM_WAIT": "5", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.end()
        shutil.move(slurm.folder, tmp_path_factory.mktemp("daemons"))


class Job:
    """A run that was submitted, and what can be asked about it."""

    def __init__(self, cluster: Cluster, folder: Path, *options: str) -> None:
        self.cluster, self.folder = cluster, folder
        said = mmpretrain(
            cluster,
            *("launch", "slurm", "--gpus-per-node", "0", "--no-dry-run", "--sbatch", "partition=dev", "--submit"),
            *options,
            f"run.folder={folder}",
        )
        self.number = said.partition("submitted as job ")[2].partition(";")[0]

    def status(self) -> dict:
        return json.loads(mmpretrain(self.cluster, "status", str(self.folder), "--json"))

    def state(self) -> str:
        return self.status()["queue"]["state"]

    def log(self) -> str:
        return (self.folder / "logs" / f"slurm-{self.number}.log").read_text()

    def steps(self) -> int:
        return len(read_json_lines(self.folder / "metrics.jsonl"))

    def saved(self) -> int:
        return max(map(step_of, list_checkpoints(self.folder / "checkpoints")), default=0)

    def begun_at(self) -> list[int]:
        return [attempt["step"] for attempt in read_json_lines(self.folder / "attempts.jsonl")]

    def limit(self, minutes: int) -> None:
        answer = self.cluster.ask("scontrol", "update", f"JobId={self.number}", f"TimeLimit={minutes}")
        assert answer.returncode == 0, answer.stderr


def mmpretrain(cluster: Cluster, *arguments: str) -> str:
    command = [sys.executable, "-m", "mmpretrain", *arguments]
    answer = subprocess.run(command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def start_uninterrupted(cluster: Cluster, folder: Path) -> subprocess.Popen:
    """The same two ranks on this machine, by the script for DeepSpeed's launcher."""
    mmpretrain(cluster, "launch", "deepspeed", "--gpus-per-node", "2", "--no-dry-run", *CONFIG, f"run.folder={folder}")
    environment = {**cluster.environment, "PORT": str(free_ports(1, 20000, 25000))}
    return subprocess.Popen([folder / "launch" / "deepspeed.sh"], env=environment, stdout=subprocess.DEVNULL)


def numbers(folder: Path) -> list[dict]:
    records = read_json_lines(folder / "metrics.jsonl")
    return [{name: value for name, value in record.items() if name not in OF_THE_MACHINE} for record in records]


def test_a_job_whose_time_ends_and_whose_node_dies_comes_back_and_ends_as_if_neither_had_happened(
    cluster: Cluster, tmp_path: Path
):
    """Frozen while it waits for what befalls it, so that a training of seconds lasts long enough."""
    whole = tmp_path / "whole"
    # a folder's name is data, also in a shell
    job = Job(cluster, tmp_path / "it's $HOME", "--nodes", "2", "--time", "10", "--warning", "90", *CONFIG)
    wait_until(lambda: job.steps() >= 3, 180, "the first steps")
    cluster.signal_ranks(signal.SIGSTOP)
    found = job.status()
    assert found["queue"]["state"] == "RUNNING"
    assert found["queue"]["nodes"] == "127.0.0.[1-2]"
    assert found["step"] < found["steps"] == STEPS
    assert found["restarts"] == 0

    # a minute or two from now, so that USR1 is due when Slurm looks next, which it does every 30 s
    job.limit((seconds_of(found["queue"]["time"]) + 120) // 60)
    uninterrupted = start_uninterrupted(cluster, whole)
    wait_until(lambda: all(has_pending(p, signal.SIGUSR1) for p in cluster.ranks().values()), 120, "USR1 at the limit")
    cluster.signal_ranks(signal.SIGCONT)
    wait_until(lambda: job.saved() > 0, 60, "a checkpoint")
    stopped = job.saved()
    assert stopped < SAVE_EVERY
    job.limit(10)

    wait_until(lambda: job.saved() >= 2 * SAVE_EVERY, 180, "a checkpoint of the second start")
    cluster.signal_ranks(signal.SIGSTOP)
    begun = job.saved()
    cluster.kill_node(NODES[1], rank=1)
    cluster.signal_ranks(signal.SIGCONT)
    cluster.start_node(NODES[1])
    wait_until((job.folder / "complete").exists, 300, "the end")

    assert job.begun_at() == [0, stopped, begun]
    assert f"resuming at step {stopped}\n" in job.log()
    assert f"resuming at step {begun}\n" in job.log()
    assert "rank 1 was killed or stands still in" in job.log()
    wait_until(lambda: job.state() == "COMPLETED", 60, "the job is over")
    assert job.status()["restarts"] == 2
    assert uninterrupted.wait(120) == 0
    assert numbers(job.folder) == numbers(whole)
    assert [record["step"] for record in numbers(whole)] == list(range(1, STEPS + 1))
    last = Path("checkpoints") / f"step_{STEPS:08d}" / "weights.safetensors"
    assert sha256(job.folder / last) == sha256(whole / last)


def test_a_cancelled_job_stays_cancelled_and_one_that_always_fails_is_not_started_for_ever(
    cluster: Cluster, tmp_path: Path
):
    failing = Job(cluster, tmp_path / "failing", "--restarts", "1", *CONFIG, "data.name=not_there")
    cancelled = Job(cluster, tmp_path / "cancelled", *CONFIG)
    wait_until(lambda: cancelled.number in {v["SLURM_JOB_ID"] for v in cluster.tasks()}, 120, "a rank of the other job")
    with pytest.raises(AssertionError, match=f"job {cancelled.number} of this run is running; scancel"):
        Job(cluster, cancelled.folder, *CONFIG)
    assert cluster.ask("scancel", cancelled.number).returncode == 0
    wait_until(lambda: cancelled.state() == "CANCELLED", 60, "the end of the cancelled job")
    wait_until(lambda: failing.state() == "FAILED", 240, "the end of the failing job")
    assert failing.begun_at() == [0, 0]
    assert "stop: no progress in 1 restarts, still at step 0" in failing.log()
    assert cancelled.state() == "CANCELLED"
    assert cancelled.begun_at() == [0]
