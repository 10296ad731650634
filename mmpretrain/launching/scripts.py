"""Short shell scripts from the templates in launch/; every value that enters one is quoted for the shell."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.launching.slurm import seconds_of

TEMPLATES = Path(__file__).parents[2] / "launch"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines that a run gets, and how its ranks reach each other."""

    nodes: int
    gpus_per_node: int
    """A rank for each; 0: one rank a node, on its processors."""
    cpus_per_rank: int
    """Processors of a rank: its own threads and its loader processes."""
    workers: int
    """Loader processes of a rank."""
    hosts: Sequence[str] = ()
    """Names of the nodes, the first of which is the meeting point; none: Slurm knows them."""
    interface: str | None = None
    """Network interface between the nodes; None: NCCL and gloo choose."""

    @property
    def ranks_per_node(self) -> int:
        return max(1, self.gpus_per_node)

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node

    @property
    def threads(self) -> int:
        """What the loader processes leave of a rank's processors."""
        return max(1, self.cpus_per_rank - self.workers)

    def refuse(self) -> None:
        """Hosts that do not fit.

        Raises:
            ConfigError: as many hosts as nodes have to be named, each once.
        """
        if self.hosts and (len(self.hosts) != self.nodes or len(set(self.hosts)) != self.nodes):
            raise ConfigError(f"--hosts: {', '.join(self.hosts)} are not {self.nodes} nodes; name each once")


@dataclass(frozen=True, kw_only=True)
class Queue:
    """What a Slurm job asks for beside machines."""

    time: str | None
    """Limit of one start, in Slurm's notation; None: the partition's."""
    warning: int
    """Seconds before the limit at which the ranks get USR1, to save."""
    restarts: int
    """Starts in a row, after a first one, that may end without a new checkpoint."""
    options: Sequence[str] = ()
    """Further options of sbatch, as partition=gpu."""

    def refuse(self) -> None:
        """A limit that leaves no time to train, and options that are none.

        Raises:
            ConfigError: names the option and the remedy.
        """
        if self.time is not None and seconds_of(self.time) <= self.warning:
            raise ConfigError(f"--time: {self.time} is over when USR1 comes {self.warning} s before; give more time")
        for option in self.options:
            if not re.fullmatch(r"[a-z][a-z-]*(=.*)?", option):
                raise ConfigError(f"--sbatch: {option!r} is no option; it reads partition=gpu, without the dashes")


def write_scripts(
    kind: str, run: Run, folder: Path, config: str, command: str, cluster: Cluster, queue: Queue | None = None
) -> Path:
    """Write the script of a launcher and what it reads into `folder`; returns the script's path.

    Args:
        kind: torchrun, deepspeed or slurm.
        config: the resolved YAML. The copy is what the job trains, whatever happens to the file until it starts.
        command: what the script says that it was written by.
    """
    name = "slurm.sbatch" if kind == "slurm" else f"{kind}.sh"
    script = folder.absolute() / name
    facts = {
        "command": Verbatim(_plain(command)),
        "script": script,
        "run": run.folder.absolute(),
        "shown_run": run.folder,
        "config": script.with_name("config.yaml"),
        "hostfile": script.with_name("hostfile"),
        "here": Path.cwd(),
        # every %, which sbatch would replace, but for the job's number
        "log": f"{str(run.logs.absolute()).replace('%', '%%')}/slurm-%j.log",
        "name": run.folder.absolute().name,
        "python": sys.executable,
        "cluster": cluster,
        "queue": queue,
    }
    text = _templates().get_template(f"{name}.j2").render(facts)
    for place in (folder, run.logs):
        place.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "config.yaml", config)
    if kind == "deepspeed" and (cluster.hosts or cluster.nodes == 1):
        hosts = cluster.hosts or ["localhost"]
        write_atomic(folder / "hostfile", "".join(f"{host} slots={cluster.ranks_per_node}\n" for host in hosts))
    write_atomic(script, text)
    script.chmod(0o755)
    return script


class Verbatim(str):
    """Text that stands in a script as it is."""


def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=_quoted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (a shell script: finalize quotes every value for that)
    )


def _quoted(value: Any) -> str:
    return value if isinstance(value, Verbatim) else shlex.quote(_plain(str(value)))


def _plain(text: str) -> str:
    """The text, which must not end the line that it stands in.

    Raises:
        ConfigError: it holds line ends or other control characters.
    """
    if not text.isprintable():
        raise ConfigError(f"{text!r}: a launch script takes no control characters; use another name or value")
    return text
