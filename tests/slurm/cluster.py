"""A real Slurm of two nodes in a folder: daemons, the ranks of its jobs, and an end for all of them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("127.0.0.1", "127.0.0.2")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo")


def why_not() -> str | None:
    """What this machine lacks for it."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        return f"{', '.join(missing)} missing; apt-get install slurmctld slurmd slurm-client"
    return None if os.geteuid() == 0 else "slurmd starts jobs as root only"


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def free_ports(count: int, low: int, high: int) -> int:
    """The first of `count` ports in a row that nobody uses, below those that the system hands out."""
    for first in range(low + os.getpid() % 1000, high, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as free:
                    free.bind(("", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


class Cluster:
    """Started by `start`, ended by `end`; what it leaves lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        (self.folder / "state").mkdir()
        (self.folder / "spool").mkdir()
        controller, node = free_ports(1, 26000, 28000), free_ports(2, 28000, 30000)
        text = (Path(__file__).parent / "slurm.conf").read_text()
        for name, value in {
            "folder": self.folder,
            "controller_port": controller,
            "node_port": node,
            "last_node_port": node + 1,
            # ranks meet at port 15000 + number of the job: one that is free
            "first_job": free_ports(20, 15001, 20000) - 15000,
        }.items():
            text = text.replace(f"{{{name}}}", str(value))
        self.conf.write_text(text)
        self._daemon("slurmctld", "-D", "-c")
        wait_until(lambda: self.ask("scontrol", "ping").returncode == 0, 60, "slurmctld answers")
        for name in NODES:
            self.start_node(name)
        wait_until(lambda: self.ask("sinfo", "-h", "-o", "%A").stdout.strip() == "0/2", 60, "two nodes are idle")

    def start_node(self, name: str) -> None:
        self._daemon(name, "-D", "-N", name, command="slurmd")

    def _daemon(self, name: str, *arguments: str, command: str = "slurmctld") -> None:
        with (self.folder / f"{name}.out").open("a") as out:
            self.daemons[name] = subprocess.Popen(
                [program(command), *arguments], env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def processes(self, variable: str | None = None) -> dict[int, dict[str, str]]:
        """Every process of this Slurm and its jobs with its environment, or those that have a variable."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                pairs = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # it has ended, or is not ours
            variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            if variables.get("SLURM_CONF") == str(self.conf) and (variable is None or variable in variables):
                found[int(entry.name)] = variables
        return found

    def tasks(self) -> list[dict[str, str]]:
        """Environments of the processes that srun started."""
        return [v for v in self.processes("SLURM_TASK_PID").values() if "SLURM_STEP_NODELIST" in v]

    def ranks(self) -> dict[int, int]:
        """The process of each rank."""
        return {int(v["SLURM_PROCID"]): int(v["SLURM_TASK_PID"]) for v in self.tasks()}

    def signal_ranks(self, number: int) -> None:
        for process in self.ranks().values():
            os.kill(process, number)

    def kill_node(self, name: str, rank: int) -> None:
        """As when its power goes: slurmd, the daemon of the step and the rank end at once."""
        process = self.ranks()[rank]
        parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        assert "slurmstepd" in Path(f"/proc/{parent}/cmdline").read_text()
        for each in (self.daemons[name].pid, parent, process):
            os.kill(each, signal.SIGKILL)
        self.daemons[name].wait()

    def end(self) -> None:
        """No process of it stays."""
        self.ask("scancel", "--user", "root")
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for process in self.processes():
            if process != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def has_pending(process: int, number: int) -> bool:
    """Whether a stopped process has a signal waiting for it."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
