"""One rank of a trial, in a process that was forked from one that has imported everything."""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch
from rich.console import Console

from mmpretrain.core import fault_points
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.train import loop, watch
from mmpretrain.train.step import StepResult, train_step

torch.set_num_threads(1)


def run_rank(rank: int, size: int, port: int, task: dict[str, Any]) -> None:
    """Run a config as `mmpretrain pretrain` would; exit code and the last line are the command's."""
    output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"MMPRETRAIN_FAULT": task["fault"], "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    watch.BEAT_SECONDS, watch.SILENCE_SECONDS = task["beat"], task["silence"]
    _record(rank, task)
    _mark(Path(task["marker"]))
    sys.argv = ["mmpretrain", "pretrain", task["config"]]
    try:
        pretrain(Path(task["config"]), task["overrides"], task["resume"], Console(file=sys.stdout, width=200))
    except MmpretrainError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _mark(file: Path) -> None:
    """Leave a file at the moment of the fault."""
    act = fault_points._act

    def marking(*arguments: Any) -> Any:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return act(*arguments)

    fault_points._act = marking


def _record(rank: int, task: dict[str, Any]) -> None:
    """Keep the keys of every step that is taken; and leave steps out altogether, for comparison."""

    def recording(engine: Any, micro_batches: Any, *more: Any) -> StepResult:
        step = loop.progress.step
        keys = [key for batch in micro_batches for key in batch.keys]
        with Path(task["keys"]).open("a") as file:
            file.write(json.dumps({"step": step, "rank": rank, "keys": keys}) + "\n")
        if step in task["left_out"]:
            return StepResult(metrics={"loss": 0.0}, grad_norm=0.0, refused="left out", wishes=(False,) * 3, faults=0)
        return train_step(engine, micro_batches, *more)

    loop.train_step = recording
