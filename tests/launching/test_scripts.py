import subprocess
from pathlib import Path

import pytest

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.launching.scripts import Cluster, Queue, write_scripts
from mmpretrain.launching.slurm import seconds_of

QUEUE = Queue(time="1-00:00:00", warning=180, restarts=3, options=["partition=gpu", "account=a b"])
LAYOUTS = [
    ("slurm", Cluster(nodes=2, gpus_per_node=8, cpus_per_rank=6, workers=4, interface="ib0"), QUEUE),
    ("slurm", Cluster(nodes=1, gpus_per_node=0, cpus_per_rank=1, workers=1), Queue(time=None, warning=1, restarts=0)),
    *(
        (kind, Cluster(nodes=nodes, gpus_per_node=2, cpus_per_rank=1, workers=0, hosts=hosts), None)
        for kind in ("torchrun", "deepspeed")
        for nodes, hosts in ((1, []), (2, []), (2, ["a", "b"]))
    ),
]


def write(kind: str, cluster: Cluster, queue: Queue | None, folder: Path, command: str = "mmpretrain launch") -> Path:
    return write_scripts(kind, Run(folder), folder / "launch", "train: {steps: 1}\n", command, cluster, queue)


@pytest.mark.parametrize(("kind", "cluster", "queue"), LAYOUTS)
def test_every_script_is_valid_whatever_its_folder_is_called(
    kind: str, cluster: Cluster, queue: Queue | None, tmp_path: Path
):
    script = write(kind, cluster, queue, tmp_path / "it's $(touch here) `id` %j; a\\b")
    subprocess.run(["bash", "-n", script], check=True)
    assert script.stat().st_mode & 0o100
    assert (script.parent / "config.yaml").read_text() == "train: {steps: 1}\n"


def test_a_job_asks_slurm_for_what_was_asked_of_it(tmp_path: Path):
    kind, cluster, queue = LAYOUTS[0]
    lines = write(kind, cluster, queue, tmp_path / "my run").read_text().splitlines()
    asked = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    assert asked == [
        "job-name='my run'",
        f"output='{tmp_path}/my run/logs/slurm-%j.log'",
        "open-mode=append",
        "nodes=2",
        "ntasks-per-node=8",
        "cpus-per-task=6",
        "gpus-per-node=8",
        "time=1-00:00:00",
        "partition=gpu",
        "'account=a b'",
        "signal=USR1@180",
        "requeue",
    ]
    assert "export OMP_NUM_THREADS=2" in lines, "what 4 loader processes leave of 6"
    assert "export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0" in lines
    assert (tmp_path / "my run" / "logs").is_dir(), "sbatch would not make it"


def test_a_script_is_short_enough_to_read(tmp_path: Path):
    for number, (kind, cluster, queue) in enumerate(LAYOUTS):
        assert len(write(kind, cluster, queue, tmp_path / str(number)).read_text().splitlines()) < 60


def test_the_hostfile_is_as_deepspeed_reads_it(tmp_path: Path):
    from deepspeed.launcher.runner import fetch_hostfile

    cluster = Cluster(nodes=2, gpus_per_node=4, cpus_per_rank=1, workers=0, hosts=["one", "two"])
    script = write("deepspeed", cluster, None, tmp_path)
    assert dict(fetch_hostfile(str(script.with_name("hostfile")))) == {"one": 4, "two": 4}


def test_a_value_cannot_end_its_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="takes no control characters"):
        write(*LAYOUTS[1], tmp_path / "a\nrm -rf b")
    with pytest.raises(ConfigError, match="takes no control characters"):
        write(*LAYOUTS[1], tmp_path, command="mmpretrain launch slurm 'a\nrm b'")


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5_400),
        ("1:30", 90),
        ("24:00:00", 86_400),
        ("1-0", 86_400),
        ("2-12:30", 217_800),
        ("1-00:00:01", 86_401),
    ],
)
def test_limits_of_time_are_read_as_slurm_reads_them(time: str, seconds: int):
    assert seconds_of(time) == seconds


def test_what_slurm_would_refuse_or_misread_is_refused_first():
    with pytest.raises(ConfigError, match="'one day' is no limit; use H:M:S"):
        Queue(time="one day", warning=180, restarts=3).refuse()
    with pytest.raises(ConfigError, match="3 is over when USR1 comes 180 s before; give more time"):
        Queue(time="3", warning=180, restarts=3).refuse()
    with pytest.raises(ConfigError, match="'--partition=gpu' is no option; it reads partition=gpu"):
        Queue(time=None, warning=180, restarts=3, options=["--partition=gpu"]).refuse()
    for hosts in (["a"], ["a", "a"]):
        with pytest.raises(ConfigError, match="are not 2 nodes; name each once"):
            Cluster(nodes=2, gpus_per_node=1, cpus_per_rank=1, workers=0, hosts=hosts).refuse()
