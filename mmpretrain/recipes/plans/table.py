"""A plan as tables: what each part of the model takes, what each engine needs and how long a step takes with it."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.planning.memory import PARTS
from mmpretrain.planning.plan import (
    BETWEEN_NODES_LATENCY,
    FRAGMENTS,
    IN_NODE_LATENCY,
    RESERVE,
    Column,
)
from mmpretrain.recipes.plans.advice import Advice
from mmpretrain.recipes.plans.plan import Planned

GB = 1e9
SHORT = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
MEMORY = {
    "optimizer": "optimizer",
    "average": "average of weights",
    "buffers": "exchange buffers",
    "objectives": "pairs and logits of losses",
}
TIMES = {"compute": "computing", "update": "update of weights", "data": "waiting for data"}


def show(planned: Planned, console: Console) -> None:
    """Tables, a verdict, what to change, and what all of it rests on."""
    cluster, cut = planned.cluster, planned.plan.task.cut
    title = (
        f"{planned.path.stem} on {cluster.nodes} x {cluster.gpus_per_node} {cluster.gpu}, predicted: {cut.batch:,} "
        f"rows a step = {cut.ranks} ranks x {cut.micros} micro-batches x {cut.rows}"
    )
    console.print(parts_table(planned))
    console.print(engines_table(planned, title))
    console.print(verdict(planned), soft_wrap=True)
    if planned.advice:
        console.print(advice_table(planned.advice))
    if planned.sizes:
        console.print(sizes_table(planned))
    console.print("assumptions:", style="bold")
    for line in assumptions(planned):
        console.print(f"- {line}", soft_wrap=True, markup=False)
    console.print(f"next: mmpretrain pretrain {planned.path} --dry-run", soft_wrap=True, markup=False)


def parts_table(planned: Planned) -> Table:
    """Parameters and operations by part."""
    plan, parameters = planned.plan, planned.parameters
    flops, rows = plan.walked.flops, plan.task.cut.micros * plan.task.cut.rows
    shown = numbers("part", "parameters", "GFLOP a sample", "share")
    for part in dict.fromkeys([*parameters, *flops]):
        count, done = parameters.get(part), flops.get(part, 0)
        share = done / sum(flops.values())
        shown.add_row(
            part,
            f"{count:,}" if count else "",
            f"{done / rows / 1e9:,.3f}" if done else "",
            f"{100 * share:.1f} %" if done else "",
        )
    shown.add_section()
    shown.add_row("all", f"{sum(parameters.values()):,}", f"{plan.flops_per_sample / 1e9:,.3f}", "")
    return shown


def engines_table(planned: Planned, title: str) -> Table:
    """Memory by part, traffic and time, a column for each engine; the config's own is marked."""
    columns = planned.plan.columns
    shown = numbers("", *(f"{column.engine} *" if column.chosen else column.engine for column in columns), title=title)

    def add(name: str, value: Callable[[Column], str]) -> None:
        shown.add_row(name, *(f"[bold]{value(c)}[/]" if c.chosen else value(c) for c in columns))

    for part in PARTS:
        if any(part in column.memory for column in columns):
            add(f"{MEMORY.get(part, part)}, GB", partial(memory_of, part=part))
    add("most at a time, GB", lambda column: in_gb(sum(column.memory.values())))
    add("needed of a GPU, GB", lambda column: coloured(in_gb(column.needed), column.fits))
    shown.add_section()
    for what in ("features", "gradients", "weights"):
        add(f"a rank sends of {what}, GB", partial(sent_of, what=what))
    shown.add_section()
    for part in ("compute", "features", "gradients", "weights", "update", "data"):
        name = TIMES.get(part, f"waiting for {part}")
        add(f"{name}, ms", partial(time_of, part=part))
    add("step, ms", lambda column: f"{1e3 * column.timing.total:,.1f}")
    shown.add_section()
    add("samples a second", lambda column: f"{column.samples_per_second:,.0f}")
    add("days", lambda column: f"{planned.days(column.samples_per_second):,.2f}")
    if planned.cluster.price is not None:
        add("cost", lambda column: f"{planned.cost(column.samples_per_second):,.0f}")
    return shown


def memory_of(column: Column, part: str) -> str:
    return in_gb(column.memory.get(part, 0))


def sent_of(column: Column, what: str) -> str:
    return in_gb(getattr(column, f"{what}_sent"))


def time_of(column: Column, part: str) -> str:
    return f"{1e3 * getattr(column.timing, part):,.1f}"


def verdict(planned: Planned) -> str:
    """One line."""
    best, gpu = planned.plan.chosen, planned.gpu
    cost = planned.cost(best.samples_per_second)
    return (
        f"{coloured('fits' if best.fits else 'does not fit', best.fits)}: {best.engine} needs {in_gb(best.needed)} of "
        f"{gpu.memory / GB:,.0f} GB; {planned.samples:,} samples in {planned.days(best.samples_per_second):,.2f} days, "
        f"cost {'not computed (--price)' if cost is None else f'{cost:,.0f}'}"
    )


def advice_table(found: Sequence[Advice]) -> Table:
    """What to change: what fits first, and of that the fastest."""
    shown = numbers("change", "needed of a GPU, GB", "samples a second", title="what to change")
    for advice in sorted(found, key=lambda each: (not each.fits, -each.samples_per_second)):
        change = shlex.join(advice.change)  # as a shell takes it
        shown.add_row(change, coloured(in_gb(advice.needed), advice.fits), f"{advice.samples_per_second:,.0f}")
    return shown


def sizes_table(planned: Planned) -> Table:
    """The same rows a rank on more and more GPUs, under the config's engine."""
    names = ("GPUs", "rows a step", "needed, GB", "step", "computing", "features", "gradients", "weights")
    title = "predicted, as many rows a rank on more GPUs; times in ms"
    shown = numbers(*names, "samples/s", "of ideal", "days", title=title)
    first = planned.sizes[0]
    ideal = first.chosen.samples_per_second / first.task.cut.ranks
    for plan in planned.sizes:
        best, timing, ranks = plan.chosen, plan.chosen.timing, plan.task.cut.ranks
        times = (timing.total, timing.compute, timing.features, timing.gradients, timing.weights)
        shown.add_row(
            f"{ranks:,}",
            f"{plan.task.cut.batch:,}",
            coloured(in_gb(best.needed), best.fits),
            *(f"{1e3 * seconds:,.1f}" for seconds in times),
            f"{best.samples_per_second:,.0f}",
            f"{100 * best.samples_per_second / ranks / ideal:.0f} %",
            f"{planned.days(best.samples_per_second):,.2f}",
        )
    return shown


def assumptions(planned: Planned) -> Iterator[str]:
    """What the figures rest on, a line each."""
    gpu, cluster, cut = planned.gpu, planned.cluster, planned.plan.task.cut
    kind = gpu.product_type(planned.plan.task.engine.precision)
    yield "nothing was measured on such a GPU: operations and memory are those of the step's code, walked through here"
    yield (
        f"products reach {100 * cluster.efficiency:.0f} % (--efficiency) of {gpu.peak(kind) / 1e12:,.0f} TFLOP/s "
        f"{SHORT[kind]}, the losses over all pairs of {gpu.fp32 / 1e12:,.0f} TFLOP/s fp32; "
        f"{gpu.source}"
    )
    yield (
        f"a GPU sends {gpu.in_node / GB:,.0f} GB/s in its node and {gpu.between_nodes / GB:,.1f} GB/s between nodes "
        f"({gpu.network}); {1e6 * IN_NODE_LATENCY:.0f} and {1e6 * BETWEEN_NODES_LATENCY:.0f} us a level"
    )
    yield (
        f"of a GPU's memory {RESERVE / GB:.0f} GB are taken by context and libraries, and torch keeps "
        f"{100 * (FRAGMENTS - 1):.0f} % more than is in use; attention kernels are fused"
    )
    if cut.size:
        yield f"texts are filled up to {cut.padded} tokens"
    yield from planned.facts.notes
    if planned.config.engine.kind == "single" and cut.ranks > 1:
        yield "engine.kind=single runs one process: planned as engine.kind=ddp"
    if planned.config.engine.compile:
        yield "engine.compile is planned as if it were off: compiled towers need less memory and time"
    yield from of_loader(planned)


def of_loader(planned: Planned) -> Iterator[str]:
    """What the data has to deliver, and what its order takes."""
    best, workers = planned.plan.chosen, planned.config.data.workers
    needed = best.samples_per_second / planned.plan.task.cut.ranks
    rate = planned.cluster.loader_rate
    if rate is None:
        yield (
            f"the loader keeps up: {needed:,.0f} samples a second and rank, by data.workers={workers}; --loader-rate "
            "says what a process delivers (`mmpretrain bench data` measures it)"
        )
    else:
        yield f"a loader process delivers {rate:,.0f} samples a second (--loader-rate), data.workers={workers}"
    size = planned.order_bytes
    if size is not None:
        processes = (1 + workers) * planned.cluster.gpus_per_node
        yield (
            f"the order over {planned.cluster.pairs or planned.facts.pairs:,} samples takes {in_gb(size)} GB in each "
            f"process that reads, {in_gb(size * processes)} GB in the {processes} of a node"
        )


def numbers(first: str, *others: str, title: str | None = None) -> Table:
    """A table whose columns but the first are numbers."""
    shown = Table(first, *others, title=title, box=box.SIMPLE_HEAD)
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown


def coloured(text: str, good: bool) -> str:
    return f"[{'green' if good else 'red'}]{text}[/]"


def in_gb(size: float) -> str:
    return "-" if not size else f"{size / GB:,.2f}" if size >= 1e7 else f"{size / GB:.4f}"
