"""From a config to the script that starts it on a cluster: refuse, try here, write, and on request submit."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import to_yaml
from mmpretrain.launching.scripts import Cluster, Queue, write_scripts
from mmpretrain.launching.slurm import UNFINISHED, job_facts, submit
from mmpretrain.recipes.dry_run import refuse_layout
from mmpretrain.recipes.pretrain import refuse_other_config
from mmpretrain.recipes.settings import Pretrain, load_pretrain


def launch(
    kind: str,
    path: Path,
    overrides: Sequence[str],
    *,
    nodes: int,
    gpus_per_node: int,
    cpus_per_rank: int | None,
    hosts: Sequence[str] = (),
    interface: str | None = None,
    queue: Queue | None = None,
    submitted: bool = False,
    out: Path | None = None,
    dry_run: bool = True,
    console: Console,
) -> Path:
    """Write the script that starts a config under a launcher; returns its path.

    Args:
        kind: torchrun, deepspeed or slurm.
        cpus_per_rank: None: one, and one for each loader process.
        submitted: queue the script of a Slurm job at once.
        out: folder of the script; None: launch/ in the run folder.
        dry_run: try the rows of one rank on this machine first.

    Raises:
        ConfigError: settings that do not go together, with each other or with the run that is there.
    """
    config = load_pretrain(path, overrides)
    cluster = Cluster(
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        cpus_per_rank=cpus_per_rank or config.data.workers + 1,
        workers=config.data.workers,
        hosts=hosts,
        interface=interface,
    )
    place = Run(Path(config.run.folder))
    refuse(kind, config, cluster, queue, place)
    if submitted:
        refuse_second_job(place)
    if dry_run:
        try_here(path, overrides, cluster.ranks)
    command = shlex.join(["mmpretrain", *sys.argv[1:]])
    script = write_scripts(kind, place, out or place.folder / "launch", to_yaml(config), command, cluster, queue)
    ranks = f"{cluster.ranks} ranks on {nodes} node{'s' if nodes > 1 else ''}"
    console.print(f"{script}: {ranks}; trains the copy of the config beside it", soft_wrap=True)
    console.print(how_to_start(kind, script, place, nodes, submitted), soft_wrap=True)
    return script


def refuse(kind: str, config: Pretrain, cluster: Cluster, queue: Queue | None, place: Run) -> None:
    """Everything that can be refused without reading data.

    Raises:
        ConfigError: names the setting or the option, and the remedy.
    """
    cluster.refuse()
    if queue is not None:
        queue.refuse()
    refuse_layout(config, cluster.ranks)
    if kind == "deepspeed" and config.engine.kind != "deepspeed":
        raise ConfigError(
            f"engine.kind: {config.engine.kind} under DeepSpeed's launcher; add engine.kind=deepspeed, or launch it by "
            "torchrun"
        )
    if place.complete.exists():
        raise ConfigError(f"{place.folder}: this run is complete; a new one needs another run.folder=PATH")
    if place.config.is_file():
        refuse_other_config(place, config)


def refuse_second_job(place: Run) -> None:
    """Two jobs would write one folder.

    Raises:
        ConfigError: Slurm has a job of this run that is not over.
    """
    job = place.job.read_text().strip() if place.job.is_file() else ""
    state = (job_facts(job) or {}).get("JobState") if job else None
    if state in UNFINISHED:
        raise ConfigError(f"{place.folder}: job {job} of this run is {state.lower()}; scancel {job} first, or wait")


def try_here(path: Path, overrides: Sequence[str], ranks: int) -> None:
    """The dry run, in a process of its own: its process group leaves variables that a job would inherit.

    Raises:
        MmpretrainError: it failed, with its exit code; it has said why.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    command = [
        sys.executable,
        "-m",
        "mmpretrain",
        "pretrain",
        str(path),
        *overrides,
        "--dry-run",
        "--ranks",
        str(ranks),
    ]
    code = subprocess.run(command, env=own, check=False).returncode
    if code != 0:
        error = MmpretrainError("the dry run failed, nothing was written; --no-dry-run leaves it out")
        error.exit_code = code if code > 0 else 1
        raise error


def how_to_start(kind: str, script: Path, place: Run, nodes: int, submitted: bool) -> str:
    """The next command; before it, where that was asked for, the script is queued and its job's number kept."""
    if submitted:
        job = submit(script)
        write_atomic(place.job, f"{job}\n")
        return f"submitted as job {job}; next: mmpretrain status {shlex.quote(str(place.folder))}"
    typed = shlex.quote(str(script))
    if kind == "slurm":
        return f"next: sbatch {typed}"
    return f"next: {typed}" if nodes == 1 else f"next: start it on each of the {nodes} nodes, see its first lines"
