"""Trials: a real run in real processes in which something goes wrong."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors
from mmpretrain.train import checkpoint

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.child"])
LIMIT_SECONDS = 90.0
"""A trial that takes longer has hung."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of a trial."""

    codes: list[int | None]
    """Exit codes by rank; None: had to be killed, because it hung."""
    output: str
    seconds: float
    """From the fault, or from the start where there was none, until all processes had gone."""

    @property
    def hung(self) -> bool:
        return None in self.codes


@dataclass(kw_only=True)
class Trial:
    """A run folder and the ways to run it."""

    config: Path
    folder: Path
    overrides: Sequence[str] = field(default_factory=tuple)
    beat: float = 0.3
    silence: float = 5.0
    ended_at: float = 0.0
    """When the last process of the last run had gone."""

    @property
    def run(self) -> Run:
        return Run(self.folder)

    def go(
        self,
        ranks: int = 1,
        fault: str = "",
        more: Sequence[str] = (),
        resume: str = "auto",
        left_out: Sequence[int] = (),
        during: Callable[[list[Any]], None] | None = None,
    ) -> Ended:
        """Run until every rank has gone.

        Args:
            fault: as MMPRETRAIN_FAULT has it.
            left_out: steps (from 1) that are not taken at all.
            during: called with the processes once they have started.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        output = self.folder.with_suffix(f".{time.monotonic_ns()}.txt")
        task = {
            "config": str(self.config),
            "overrides": [f"run.folder={self.folder}", *self.overrides, *more],
            "fault": fault,
            "resume": resume,
            "output": str(output),
            "keys": str(self.folder.with_suffix(".keys.jsonl")),
            "marker": str(self.folder / "logs" / "fault"),
            "left_out": list(left_out),
            "beat": self.beat,
            "silence": self.silence,
        }
        from tests.faults.child import run_rank

        port = free_port()
        processes = [CONTEXT.Process(target=run_rank, args=(rank, ranks, port, task)) for rank in range(ranks)]
        for process in processes:
            process.start()
        began = time.monotonic()
        if during:
            during(processes)
            began = time.monotonic()
        codes = wait(processes)
        self.ended_at = time.time()
        return Ended(
            codes=codes, output=output.read_text() if output.exists() else "", seconds=time.monotonic() - began
        )

    def keys(self) -> dict[int, list[str]]:
        """The keys of each step, in the order of ranks; of a step that was taken again, the last time."""
        found: dict[int, dict[int, list[str]]] = {}
        for record in read_json_lines(self.folder.with_suffix(".keys.jsonl")):
            found.setdefault(record["step"], {})[record["rank"]] = record["keys"]
        return {step: [key for rank in sorted(parts) for key in parts[rank]] for step, parts in sorted(found.items())}

    def losses(self) -> list[float]:
        return [record["loss"] for record in read_json_lines(self.run.metrics)]

    def final(self) -> dict[str, torch.Tensor]:
        """Everything that the newest checkpoint holds in tensors."""
        newest, _ = checkpoint.find_newest(self.run.checkpoints)
        assert newest is not None
        return {
            f"{file.name}:{name}": value
            for file in sorted(newest.glob("*.safetensors"))
            for name, value in load_tensors(file).items()
        }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def wait(processes: Sequence[Any]) -> list[int | None]:
    """Exit codes; None for those that had to be killed after the limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    codes: list[int | None] = []
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        codes.append(process.exitcode)
        if process.exitcode is None:
            process.kill()
            process.join()
    return codes


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def kill_after(seconds: float) -> Callable[[list[Any]], None]:
    """SIGKILL for all ranks after some time."""

    def kill(processes: list[Any]) -> None:
        time.sleep(seconds)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):  # it may just have ended
                os.kill(process.pid, signal.SIGKILL)

    return kill


def wait_for(file: Path, step: int, limit: float = 60.0) -> None:
    """Until a run's metrics hold a step."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if file.exists() and any(f'"step": {step},' in line for line in file.read_text().splitlines()):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{file}: step {step} did not come")


@dataclass
class Account:
    """A row of reliability.json in the making."""

    name: str
    goal: str
    seed: int = 0
    trials: int = 0
    failures: list[str] = field(default_factory=list)

    def note(self, passed: bool, what: str) -> None:
        self.trials += 1
        if not passed:
            self.failures.append(what)

    def row(self, tier: str, versions: dict[str, str], where: dict[str, Any]) -> dict[str, Any]:
        passed = self.trials - len(self.failures)
        return {
            "name": self.name,
            "trials": self.trials,
            "passed": passed,
            "goal": self.goal,
            "seed": self.seed,
            "tier": tier,
            "versions": versions,
            **where,
        }


def sample(cases: Sequence[Any], count: int | None, seed: int) -> list[Any]:
    """All cases, or `count` of them drawn by a seed, in their order."""
    if count is None or count >= len(cases):
        return list(cases)
    chosen = sorted(random.Random(seed).sample(range(len(cases)), count))
    return [cases[place] for place in chosen]


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows by name; those of other names stay."""
    held = {row["name"]: row for row in json.loads(file.read_text())} if file.exists() else {}
    held |= {row["name"]: row for row in rows}
    file.write_text(json.dumps([held[name] for name in sorted(held)], indent=1) + "\n")
