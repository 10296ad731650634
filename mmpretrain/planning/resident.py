"""What a step really takes of this machine's memory: the most that a fresh process keeps resident.

Counted is memory of the process's own (Linux: anonymous pages) above what it has before the first weight, when the
libraries are loaded and an engine around one linear layer has taken a step: so tensors, what kernels, gloo and oneDNN
allocate besides, and what malloc wastes. Pages of library files are left out. Two settings make that the memory of a
step and no history of it: malloc gives freed blocks back at once, and oneDNN, which keeps a kernel with its buffers for
each shape that it ever met, keeps none.
"""

import ctypes
import gc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.distributed import global_max
from mmpretrain.core.settings import build, dump
from mmpretrain.planning.cut import batches_of
from mmpretrain.planning.measure import STEPS, engine_around, engine_of
from mmpretrain.planning.ranks import answer, ask_ranks
from mmpretrain.planning.task import Task
from mmpretrain.train.step import train_step

SETTINGS = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",
}
"""Of the process, by environment variables."""


def measure_resident(task: Task, ranks: int) -> int:
    """Bytes of the rank that has most, over its first steps.

    Raises:
        MmpretrainError: a process failed, or did not end.
    """
    return int(ask_ranks("mmpretrain.planning.resident", dump(task), ranks, SETTINGS))


def look(tree: dict[str, Any]) -> int:
    """The same; all ranks call."""
    task = build(Task, tree)
    warm_up(task)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("RssAnon")
    Path("/proc/self/clear_refs").write_text("5")  # the most is counted anew from here on
    engine = engine_of(task)
    batches = batches_of(task.cut, engine.module.needs)
    for _ in range(STEPS):
        train_step(engine, batches, seed=0)
    most = status("VmHWM") - status("RssFile") - status("RssShmem")
    return int(global_max(torch.tensor(float(most - before))))


def warm_up(task: Task) -> None:
    """A step of the engine, which brings its libraries and their memory along."""
    engine = engine_around(task, Layer())
    engine.backward(engine.forward("live", torch.ones(2, 8)).sum())
    engine.step()


class Layer(nn.Module):
    """The least that an engine can train."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, phase: str, x_BD: Tensor) -> Tensor:
        found: Tensor = self.linear(x_BD)
        return found


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[name].split()[0])


if __name__ == "__main__":
    answer(look)
