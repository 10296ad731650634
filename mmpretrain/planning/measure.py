"""What a step really takes on this machine: memory, traffic and time, on one rank or several.

Memory is that of tensors: every one from the first weight on, from when it is made until nobody refers to it, in
whichever thread. Not counted are what a kernel needs inside one call, the interpreter, libraries, and what gloo and
oneDNN allocate by themselves. torch's profiler counts allocations inside kernels too, but misses what gloo's threads
free; where it can be trusted, on one rank, both agree (tests/planning). All that a process takes: `resident.py`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import global_max
from mmpretrain.core.settings import build, dump
from mmpretrain.engines.base import Engine, Options
from mmpretrain.planning.cut import batches_of
from mmpretrain.planning.holdings import Peak
from mmpretrain.planning.ledger import exchange_of
from mmpretrain.planning.links import Link
from mmpretrain.planning.ranks import answer, ask_ranks
from mmpretrain.planning.task import Task
from mmpretrain.train.step import train_step

CPU = torch.device("cpu")
MODULE = "mmpretrain.planning.measure"
STEPS = 3
"""From the third on every engine does the same: the first makes the optimizer's state, ZeRO-3 learns from two."""
SIZES = (1 << 14, 1 << 24)
"""Bytes of the sums by which a link is measured."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One step."""

    peak: int
    """Most bytes at a time, of the rank that has most."""
    seconds: float
    """Of processor time."""
    exchanges: list[tuple[str, int]]
    """Kind and bytes of every collective of a step."""


def measure(tasks: Sequence[Task], ranks: int, steps: int = 0) -> list[Measured]:
    """Take a few steps of each task in processes of their own.

    Args:
        steps: whose time is taken, after those that warm up; 0: memory and traffic alone.

    Raises:
        MmpretrainError: they failed, or did not end.
    """
    given = {"tasks": [dump(task) for task in tasks], "steps": steps}
    return [Measured(**tree) for tree in ask_ranks(MODULE, given, ranks)]


def measure_link() -> Link:
    """Between two ranks on this machine."""
    (small, small_seconds), (large, large_seconds) = ask_ranks(MODULE, {"sizes": SIZES}, ranks=2)
    bandwidth = (large - small) / max(large_seconds - small_seconds, 1e-9)
    # a sum of two ranks sends the whole once, in two turns
    return Link(bandwidth=bandwidth, latency=max(0.0, small_seconds - small / bandwidth) / 2)


def work(given: dict[str, Any]) -> list[Any]:
    """What one rank does."""
    if "sizes" in given:
        return [(size, sum_time(size)) for size in given["sizes"]]
    return [asdict(look(build(Task, tree), given["steps"])) for tree in given["tasks"]]


# -- one rank ---------------------------------------------------------------------------------------------


def look(task: Task, steps: int) -> Measured:
    """What the third step takes, and how long those after it take; all ranks call."""
    with Peak() as peak:
        engine = engine_of(task)
        batches = batches_of(task.cut, engine.module.needs)
        for _ in range(STEPS):
            train_step(engine, batches, seed=0)
    with Wire() as wire:
        train_step(engine, batches, seed=0)
    most = int(global_max(torch.tensor(float(peak.bytes))))
    return Measured(peak=most, seconds=step_seconds(engine, batches, steps), exchanges=wire.found)


def engine_of(task: Task) -> Any:
    """The task's engine around its module."""
    return engine_around(task, task.build())


def engine_around(task: Task, module: nn.Module) -> Any:
    """The task's engine, on the processor."""
    options = Options(device=CPU, clip_norm=task.optim.clip_norm, ema=task.optim.ema)
    return task.engine.build(module, task.optim.build, options)


def step_seconds(engine: Engine, batches: list[Batch], steps: int) -> float:
    return fastest(lambda: train_step(engine, batches, seed=0), steps) if steps else 0.0


def sum_time(size: int) -> float:
    """Seconds of a sum over ranks."""
    numbers = torch.zeros(size // 4)
    return fastest(lambda: dist.all_reduce(numbers), 10)


def fastest(once: Callable[[], Any], times: int) -> float:
    """Processor time of the cheapest of some turns, in seconds: other work on the machine does not count.

    Between ranks of one machine the wire is the processor, too: gloo copies and adds up.
    """
    spent = []
    for _ in range(times):
        began = time.process_time()
        once()
        spent.append(time.process_time() - began)
    return min(spent)


class Wire(TorchDispatchMode):
    """Notes every collective."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.namespace == "c10d":
            seen = exchange_of(func, args)
            self.found.append((seen.kind, seen.bytes))
        return found


if __name__ == "__main__":
    answer(work)
