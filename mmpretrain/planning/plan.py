"""One step of a run on GPUs that nobody has yet: what each engine needs, sends and takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.planning.cut import batches_of
from mmpretrain.planning.gpus import Gpu
from mmpretrain.planning.hollow import hollow, pretended_world
from mmpretrain.planning.links import Link, Network, sent
from mmpretrain.planning.memory import account_of, fullest
from mmpretrain.planning.task import Task
from mmpretrain.planning.timing import Loader, Machine, Timing, step_time
from mmpretrain.planning.traffic import traffic_of
from mmpretrain.planning.walk import Walk, walk

RESERVE = 2e9
"""Bytes of a GPU that are taken before the first tensor: its context, libraries, buffers of NCCL. An assumption."""
FRAGMENTS = 1.1
"""Memory that torch's allocator keeps for the memory that is in use. An assumption."""
IN_NODE_LATENCY, BETWEEN_NODES_LATENCY = 5e-6, 20e-6
"""Seconds until a collective's first byte arrives, for each level of its tree. Assumptions."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A run under one engine."""

    engine: str
    chosen: bool
    """It is the config's."""
    memory: dict[str, int]
    """Bytes by part, of the rank that holds most, when that holds most."""
    needed: float
    """Bytes of a GPU: those, and what is assumed around them."""
    fits: bool
    gradients_sent: float
    """Bytes that one rank sends in a step."""
    weights_sent: float
    features_sent: float
    timing: Timing
    samples_per_second: float
    """Of all ranks."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All engines for one cut."""

    task: Task
    walked: Walk
    columns: list[Column]

    @property
    def chosen(self) -> Column:
        return next(column for column in self.columns if column.chosen)

    @property
    def flops_per_sample(self) -> float:
        return sum(self.walked.flops.values()) / (self.task.cut.micros * self.task.cut.rows)


def make_plan(task: Task, gpu: Gpu, machine: Machine, loader: Loader | None, engines: Sequence[Any]) -> Plan:
    """Walk through a step once, and look at it under several engines.

    Args:
        loader: None: it keeps up.
        engines: settings; the task's own is among them.
    """
    walked = walk_hollow(task, gpu.product_type(task.engine.precision))
    averages = bool(task.optim.ema)
    columns = []
    for engine in engines:
        memory = fullest(walked, account_of(engine, walked, averages, task.cut.ranks))
        needed = FRAGMENTS * sum(memory.values()) + RESERVE
        timing = step_time(walked, engine, task.cut, machine, averages, loader)
        wire = traffic_of(engine, walked, task.cut.micros, task.cut.ranks)
        by_what = {
            what: sum(sent(each.kind, each.bytes, task.cut.ranks) for each in wire if each.what == what)
            for what in ("gradients", "weights")
        }
        columns.append(
            Column(
                engine=label_of(engine),
                chosen=engine == task.engine,
                memory=memory,
                needed=needed,
                fits=needed <= gpu.memory,
                gradients_sent=by_what["gradients"],
                weights_sent=by_what["weights"],
                features_sent=sum(sent(each.kind, each.bytes, task.cut.ranks) for each in walked.exchanges),
                timing=timing,
                samples_per_second=task.cut.batch / timing.total,
            )
        )
    return Plan(task=task, walked=walked, columns=columns)


def walk_hollow(task: Task, kind: torch.dtype, fused: bool = True) -> Walk:
    """One step of rank 0 on tensors without memory, with matrix products of a kind."""
    with hollow(), pretended_world(task.cut.ranks):
        module = task.build()
        return walk(module, batches_of(task.cut, module.needs), kind, fused)


def engines_beside(engine: Any, ranks: int) -> list[Any]:
    """The engines to compare, the given one among them."""
    if ranks == 1:
        return [engine]
    ddp = engine if isinstance(engine, Ddp) else Ddp(precision=engine.precision)
    if engine.precision == "fp16":  # ZeRO has none here
        return [ddp]
    zero = engine if isinstance(engine, DeepSpeed) else DeepSpeed(precision=engine.precision)
    return [ddp, *(replace(zero, stage=stage) for stage in (1, 2, 3))]


def label_of(engine: Any) -> str:
    """As a table calls it."""
    return f"ZeRO {engine.stage}" if isinstance(engine, DeepSpeed) else "DDP" if isinstance(engine, Ddp) else "single"


def machine_of(gpu: Gpu, precision: str, efficiency: float, ranks_in_node: int) -> Machine:
    """A GPU whose products reach a share of its peak."""
    return Machine(
        rate=efficiency * gpu.peak(gpu.product_type(precision)),
        exact_rate=efficiency * gpu.fp32,
        bandwidth=gpu.bandwidth,
        network=Network(
            in_node=Link(bandwidth=gpu.in_node, latency=IN_NODE_LATENCY),
            between_nodes=Link(bandwidth=gpu.between_nodes, latency=BETWEEN_NODES_LATENCY),
            ranks_in_node=ranks_in_node,
        ),
        overlaps=True,
    )
