"""The predictions held against this machine: calibrated on small cuts of one rank and on its link, then asked about
the whole cut on one rank and on two.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from mmpretrain.core.errors import ConfigError
from mmpretrain.engines.base import product_type
from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.single import Single
from mmpretrain.planning.links import Link, Network, sent
from mmpretrain.planning.measure import Measured, measure, measure_link
from mmpretrain.planning.memory import account_of, fullest
from mmpretrain.planning.plan import label_of, walk_hollow
from mmpretrain.planning.task import Task
from mmpretrain.planning.timing import Machine, step_time
from mmpretrain.planning.traffic import traffic_of
from mmpretrain.planning.walk import Walk

STEPS = 10
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One figure."""

    what: str
    ranks: int
    engine: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured


@dataclass(frozen=True, kw_only=True)
class Probe:
    """This machine, and how predictions fare on it."""

    machine: Machine
    compared: list[Compared]


def probe(task: Task) -> Probe:
    """Compare; the rows of a rank are those of the task.

    Raises:
        ConfigError: there are too few rows to calibrate on.
        MmpretrainError: a process failed.
    """
    rows = task.cut.rows
    if rows < 4:
        raise ConfigError(f"--probe: {rows} rows a rank and micro-batch are too few to calibrate on; use 4 or more")
    engine: Any = Ddp(precision=task.engine.precision) if isinstance(task.engine, Single) else task.engine
    single = Single(precision=task.engine.precision)
    one, two = (
        replace(task, engine=engine, cut=replace(task.cut, ranks=ranks)) for ranks, engine in ((1, single), (2, engine))
    )
    small = [replace(one, cut=replace(one.cut, rows=rows // part)) for part in (4, 2)]
    *calibration, alone = measure([*small, one], ranks=1, steps=STEPS)
    (both,) = measure([two], ranks=2, steps=STEPS)
    machine = calibrated([walk_here(each) for each in small], calibration, measure_link())
    compared = [row for each, found in ((one, alone), (two, both)) for row in compare(each, found, machine)]
    return Probe(machine=machine, compared=compared)


def walk_here(task: Task) -> Walk:
    return walk_hollow(task, product_type(task.engine.precision, CPU), fused=False)


def calibrated(walked: list[Walk], measured: list[Measured], link: Link) -> Machine:
    """A rate and an overhead from two steps of different size."""
    few, many = (sum(each.flops.values()) for each in walked)
    quick, slow = (each.seconds for each in measured)
    rate = (many - few) / max(slow - quick, 1e-9)
    return Machine(
        rate=rate,
        exact_rate=rate,
        bandwidth=None,
        network=Network(in_node=link, between_nodes=link, ranks_in_node=2),
        overlaps=False,
        overhead=max(0.0, quick - few / rate),
    )


def compare(task: Task, found: Measured, machine: Machine) -> list[Compared]:
    """Time, memory and traffic of one task."""
    walked, ranks = walk_here(task), task.cut.ranks
    memory = fullest(walked, account_of(task.engine, walked, bool(task.optim.ema), ranks))
    seconds = step_time(walked, task.engine, task.cut, machine, bool(task.optim.ema)).total
    wire: list[Any] = [*traffic_of(task.engine, walked, task.cut.micros, ranks), *walked.exchanges]
    figures = {
        "processor time, ms": (1e3 * seconds, 1e3 * found.seconds),
        "memory, MB": (sum(memory.values()) / 1e6, found.peak / 1e6),
        "sent, MB": (
            sum(sent(each.kind, each.bytes, ranks) for each in wire) / 1e6,
            sum(sent(kind, size, ranks) for kind, size in found.exchanges) / 1e6,
        ),
    }
    return [
        Compared(what=what, ranks=ranks, engine=label_of(task.engine), predicted=ours, measured=theirs)
        for what, (ours, theirs) in figures.items()
        if theirs
    ]
