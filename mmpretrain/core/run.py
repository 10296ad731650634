"""The run folder: the one place where a run leaves its config, environment, metrics, results and checkpoints."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmpretrain import __version__
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import TEMPORARY, append_json_line, read_json_lines, write_atomic

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "webdataset", "deepspeed", "numpy", "pillow")


class Run:
    """Names of the files in one run folder, and the ways to add to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.environment = folder / "env.json"
        self.metrics = folder / "metrics.jsonl"
        self.ledger = folder / "ledger.jsonl"
        self.results = folder / "results.jsonl"
        self.predictions = folder / "predictions"
        self.explained = folder / "explained"
        self.report = folder / "report.html"
        self.checkpoints = folder / "checkpoints"
        self.skips = folder / "skipped.jsonl"
        self.events = folder / "events.jsonl"
        self.memory = folder / "memory.json"
        self.best = folder / "best.json"
        self.restarts = folder / "restarts.json"
        self.lock = folder / "run.lock"
        self.logs = folder / "logs"
        self.complete = folder / "complete"
        self.attempts = folder / "attempts.jsonl"
        self.job = folder / "job"

    @staticmethod
    def open(folder: Path) -> "Run":
        """An existing run.

        Raises:
            ConfigError: there is none.
        """
        run = Run(folder)
        if not run.config.is_file():
            raise ConfigError(f"{folder}: not a run folder (it has no config.yaml)")
        return run

    def create(self, config_yaml: str) -> None:
        """Lay the folder out; the config is written last, so that a half-made folder is no run."""
        for folder in (self.folder, self.checkpoints, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.environment, json.dumps(environment(), indent=1))
        write_atomic(self.config, config_yaml)

    def add_metrics(self, record: dict[str, Any]) -> None:
        self._add(self.metrics, record)

    def add_result(self, record: dict[str, Any]) -> None:
        """Raises OSError where the disk does not take it."""
        append_json_line(self.results, record)

    def add_fault(self, record: dict[str, Any]) -> None:
        self._add(self.ledger, record)

    def add_skip(self, record: dict[str, Any]) -> None:
        self._add(self.skips, record)

    def add_event(self, kind: str, step: int, said: str = "") -> None:
        """Note what befell the run, and when; kinds are those of `report/events.py`."""
        self._add(self.events, {"step": step, "date": now(), "kind": kind, "said": said})

    def _add(self, file: Path, record: dict[str, Any]) -> None:
        """A line that a full disk may cost, because training is worth more."""
        try:
            append_json_line(file, record, ascii_only=True)  # names in foreign tars need not be text
        except OSError as error:
            print(f"{file}: the line of step {record['step']} was not kept: {error}", file=sys.stderr, flush=True)

    def forget_after(self, step: int) -> None:
        """Drop the metrics, faults and skips of steps that a resumed run will take again."""
        for file in (self.metrics, self.ledger, self.skips):
            if file.exists():
                kept = [record for record in read_json_lines(file) if record["step"] <= step]
                write_atomic(file, "".join(json.dumps(record) + "\n" for record in kept))


def list_checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders, oldest first; half-written ones still have another name."""
    found = [folder for folder in root.glob("step_*") if folder.is_dir() and not folder.name.endswith(TEMPORARY)]
    return sorted(folder for folder in found if folder.name.removeprefix("step_").isdigit())


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name."""
    return int(folder.name.removeprefix("step_"))


def now() -> str:
    """Date and time, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """What a number depends on beside the config: date, hardware, versions, threads, commit, command."""
    return {
        "date": now(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "mmpretrain": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's own name, with the matrix and bf16 units that timings depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    units = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(units) or 'no vector units named'})"


def commit() -> str | None:
    """The checkout's commit, with + where files differ from it; None outside a checkout."""
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
