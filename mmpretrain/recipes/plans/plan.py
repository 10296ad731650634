"""What a config would take on GPUs that nobody has booked yet: memory, traffic, time, cost, and what to change."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.core.run import processor
from mmpretrain.objectives.parts import parameters_of
from mmpretrain.planning.gpus import Gpu, find_gpu
from mmpretrain.planning.hollow import hollow
from mmpretrain.planning.order_memory import order_bytes
from mmpretrain.planning.plan import Plan, engines_beside, machine_of, make_plan
from mmpretrain.planning.probe import Probe, probe
from mmpretrain.planning.task import Task
from mmpretrain.planning.timing import Loader
from mmpretrain.recipes.plans.advice import Advice, Change, advise
from mmpretrain.recipes.plans.facts import Facts, facts_of, task_of
from mmpretrain.recipes.settings import Pretrain, load_pretrain

DAY = 86400.0
SIZES = (1, 8, 64, 512, 4096)
"""GPUs of a simulation."""
SHARD = 10_000
"""Samples of a shard where it is not known, as img2dataset writes them."""
IN_NODE = 8
"""GPUs of a node in a simulation that begins with one."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is to be booked, and what is assumed of it."""

    nodes: int
    gpus_per_node: int
    gpu: str
    efficiency: float
    """Share of the peak that a step's products reach."""
    between_nodes: float | None
    """GB a second of a GPU's share of the network; None: the table's."""
    price: float | None
    """Of a GPU and hour, in any currency."""
    loader_rate: float | None
    """Samples a second of one loader process; None: it keeps up."""
    pairs: int | None
    """Samples of the data; None: those that are here."""

    @property
    def ranks(self) -> int:
        return self.nodes * self.gpus_per_node

    def find(self) -> Gpu:
        """The GPU, with the network that is asked for."""
        gpu = find_gpu(self.gpu)
        return replace(gpu, between_nodes=1e9 * self.between_nodes) if self.between_nodes else gpu


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A config, what was asked about it, and the answer."""

    path: Path
    config: Pretrain
    cluster: Cluster
    gpu: Gpu
    facts: Facts
    parameters: dict[str, int]
    """By part."""
    plan: Plan
    advice: list[Advice]
    """Empty where the config fits."""
    sizes: list[Plan]
    """The same rows a rank on other numbers of GPUs."""

    @property
    def samples(self) -> int:
        """That a run sees."""
        return self.config.train.steps * self.config.data.batch

    def days(self, samples_per_second: float) -> float:
        return self.samples / samples_per_second / DAY

    def cost(self, samples_per_second: float) -> float | None:
        """Of the whole run; None without a price."""
        hours = 24 * self.days(samples_per_second) * self.cluster.ranks
        return None if self.cluster.price is None else hours * self.cluster.price

    @property
    def order_bytes(self) -> int | None:
        """Of the order over all samples, in each process that reads them; None where their number is not known."""
        pairs = self.cluster.pairs or self.facts.pairs
        if pairs is None or self.config.data.order == "streaming":
            return None
        shards = self.facts.shards if pairs == self.facts.pairs and self.facts.shards else -(-pairs // SHARD)
        return order_bytes(pairs, shards)


def make(path: Path, overrides: Sequence[str], cluster: Cluster, simulate: bool) -> Planned:
    """Plan a config.

    Raises:
        ConfigError: no such config or GPU, or a batch that does not divide.
    """
    gpu, config = cluster.find(), load_pretrain(path, overrides)
    facts = facts_of(config)
    task = task_of(config, facts, cluster.ranks)
    found = plan_task(config, task, cluster, gpu)

    def replan(change: Change) -> Plan:
        changed = load_pretrain(path, [*overrides, *change])
        return plan_task(changed, task_of(changed, facts, cluster.ranks), cluster, gpu)

    with hollow():
        parameters = parameters_of(task.build())
    return Planned(
        path=path,
        config=config,
        cluster=cluster,
        gpu=gpu,
        facts=facts,
        parameters=parameters,
        plan=found,
        advice=[] if found.chosen.fits else advise(config, found, gpu.memory, replan),
        sizes=[plan_task(config, resized(task, size), cluster, gpu) for size in SIZES] if simulate else [],
    )


def plan_task(config: Pretrain, task: Task, cluster: Cluster, gpu: Gpu) -> Plan:
    ranks = task.cut.ranks
    in_node = cluster.gpus_per_node if cluster.ranks > 1 else IN_NODE
    machine = machine_of(gpu, task.engine.precision, cluster.efficiency, min(in_node, ranks))
    rate, workers = cluster.loader_rate, config.data.workers
    loader = Loader(rate=rate * max(1, workers), beside=workers > 0) if rate else None
    return make_plan(task, gpu, machine, loader, engines_beside(task.engine, ranks))


def resized(task: Task, ranks: int) -> Task:
    """As many rows a rank on another number of GPUs."""
    beside: list[Any] = engines_beside(task.engine, ranks)
    engine = task.engine if task.engine in beside else beside[0]
    return replace(task, engine=engine, cut=replace(task.cut, ranks=ranks))


def for_programs(planned: Planned) -> dict[str, Any]:
    """All that the tables say, and what they leave out."""
    plan, cut = planned.plan, planned.plan.task.cut
    rows = cut.micros * cut.rows
    return {
        "config": str(planned.path),
        "predicted": True,
        "cluster": asdict(planned.cluster),
        "gpu": asdict(planned.gpu),
        "cut": {"ranks": cut.ranks, "micro_batches": cut.micros, "rows": cut.rows, "padded_text": cut.padded},
        "parameters": planned.parameters,
        "flops_per_sample": {part: flops / rows for part, flops in plan.walked.flops.items()},
        "engines": [of_column(planned, column) for column in plan.columns],
        "what_to_change": [asdict(advice) for advice in planned.advice],
        "sizes": [
            {"gpus": each.task.cut.ranks, "batch": each.task.cut.batch, **of_column(planned, each.chosen)}
            for each in planned.sizes
        ],
        "samples": planned.samples,
        "order_bytes_per_process": planned.order_bytes,
        "notes": planned.facts.notes,
    }


def of_column(planned: Planned, column: Any) -> dict[str, Any]:
    rate = column.samples_per_second
    step = {"step_seconds": column.timing.total, "days": planned.days(rate), "cost": planned.cost(rate)}
    return {**asdict(column), **step}


def check_here(path: Path, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    """Hold the predictions against this machine, on one rank and on two; nothing is written."""
    config = load_pretrain(path, overrides)
    found = probe(task_of(config, facts_of(config), 1))
    shown = Table("figure", "ranks", "engine", "predicted", "measured", "ratio", box=box.SIMPLE_HEAD)
    for column in shown.columns[3:]:
        column.justify = "right"
    for row in found.compared:
        figures = (f"{row.predicted:,.1f}", f"{row.measured:,.1f}", f"{row.ratio:.2f}")
        shown.add_row(row.what, str(row.ranks), row.engine, *figures)
    console.print(shown)
    console.print(said_of(found), soft_wrap=True)
    return asdict(found)


def said_of(found: Probe) -> str:
    link = found.machine.network.in_node
    return (
        f"one thread a rank of {processor()}, cheapest of a few steps; calibrated on a quarter and a half of the rows: "
        f"{found.machine.rate / 1e9:,.1f} GFLOP/s and {1e3 * found.machine.overhead:,.1f} ms a step, "
        f"gloo {link.bandwidth / 1e9:,.2f} GB/s and {1e6 * link.latency:,.0f} us"
    )
