"""Everything that can go wrong later, tried in seconds: files, shapes, space, one batch there and back."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmpretrain.core.distributed import on_main
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.data.training import check_batch, check_division
from mmpretrain.engines.base import Engine
from mmpretrain.objectives.parts import parameters_of
from mmpretrain.recipes.assemble import (
    Parts,
    build_engine,
    build_parts,
    index_run,
    joined_world,
    measure_norms,
    require_space_for_checkpoints,
    training_batches,
)
from mmpretrain.recipes.beside import beside_of
from mmpretrain.recipes.combinations import refuse_cut, refuse_ranks
from mmpretrain.recipes.data_facts import cut_texts
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.lacks import lacks_of
from mmpretrain.recipes.risks import risks_of
from mmpretrain.recipes.settings import Pretrain, load_pretrain, require_trackers, verb_of
from mmpretrain.recipes.starts.origin import find_origin
from mmpretrain.train.step import train_step

TIMED_STEPS = 2


def dry_run(path: Path, overrides: Sequence[str], console: Console, ranks: int | None = None) -> None:
    """Check a config on this machine and print what it would do; nothing is written.

    Args:
        ranks: how many the run will have, of which this machine tries the rows of one (or of those that are here);
            None: those that are here.
    """
    config = load_pretrain(path, overrides)
    require_trackers(config)
    with joined_world(config) as world:
        ranks = ranks or world.size
        refuse_layout(config, ranks)
        on_main(lambda: index_run(config, world.size, console))
        origin = find_origin(config.init) if config.init else None
        parts = build_parts(part_of(config, world.size, ranks), world, origin=origin)
        check_batch(parts.data, ranks, config.train.micros(ranks), config.data.batch)
        Evaluation(parts, Run(Path(config.run.folder)), config.evaluation)
        checkpoint_bytes = require_space_for_checkpoints(parts)
        measure_norms(parts)
        counts = parameters_of(parts.module)  # before stage 3 of DeepSpeed empties the parameters
        engine = build_engine(parts)
        seconds = seconds_a_step(parts, engine, console)
        if world.is_main:
            console.print(summary(parts, config, ranks, counts, seconds, checkpoint_bytes))
            for note in (*parts.module.model.notes, *parts.start.notes(), *risks_of(parts), *lacks_of(parts)):
                console.print(note, soft_wrap=True)
            if told := cut_texts(parts):
                console.print(told, soft_wrap=True)
            command = shlex.join(["mmpretrain", verb_of(path), str(path), *overrides])
            console.print(f"nothing was written; next: {command}", soft_wrap=True, markup=False)


def refuse_layout(config: Pretrain, ranks: int) -> None:
    """What so many ranks cannot train, as far as the config says.

    Raises:
        ConfigError: names the key and the remedy.
    """
    refuse_ranks(config.engine, ranks)
    micros = config.train.micros(ranks)
    check_division(config.data.batch, ranks, micros)
    refuse_cut(config.objectives, config.data.batch, ranks, micros)


def part_of(config: Pretrain, here: int, ranks: int) -> Pretrain:
    """What the ranks that are here would take of a run of `ranks`: micro-batches of the same rows, as many a rank."""
    fixed = config.train.fixed_parts and config.train.fixed_parts * here // ranks
    data = replace(config.data, batch=config.data.batch * here // ranks)
    return replace(config, data=data, train=replace(config.train, fixed_parts=fixed))


def seconds_a_step(parts: Parts, engine: Engine, console: Console) -> float:
    """Take a few steps, after a look at which parameters get a gradient.

    Raises:
        ConfigError: trainable parameters without gradient; names them.
    """
    batches = training_batches(parts, 0, beside_of(parts, console))
    refuse_without_gradient(parts, engine, next(batches))
    for number in range(TIMED_STEPS + 1):
        if number == 1:
            began = time.perf_counter()  # the first step also allocates
        engine.set_rate(0.0)
        train = parts.config.train
        train_step(engine, next(batches), train.seed, fixed=train.fixed_parts is not None)
    return (time.perf_counter() - began) / TIMED_STEPS


def refuse_without_gradient(parts: Parts, engine: Engine, micro_batches: list) -> None:
    """One backward of a single micro-batch; a parameter that it does not reach would hang or drift later."""
    batch = micro_batches[0].to(engine.device)
    reached: set[str] = set()
    trainable = [(name, p) for name, p in parts.module.named_parameters() if p.requires_grad]
    hooks = [p.register_hook(lambda gradient, name=name: reached.add(name)) for name, p in trainable]
    shares = engine.forward("live", batch, parts.module.count(batch).to(engine.device))
    engine.backward(shares.total)
    engine.skip()
    for hook in hooks:
        hook.remove()
    silent = [name for name, _ in trainable if name not in reached]
    if silent:
        raise ConfigError(f"no gradient reaches {', '.join(silent[:8])}; freeze these parameters or leave them out")


def told_objective(objective: Any) -> str:
    """Kind, weight where it is not 1, and sources where they are not all."""
    weight = objective.weight
    times = "" if weight == 1 else f" x {weight:g}" if isinstance(weight, float | int) else f" x {weight[0][1]:g} ..."
    return f"{objective.kind}{times}{f' of {objective.sources[0]}' if objective.sources else ''}"


def summary(
    parts: Parts, config: Pretrain, ranks: int, counts: dict[str, int], seconds: float, checkpoint_bytes: int
) -> Table:
    """The run in one table.

    Args:
        parts: of the rows that were tried here.
        config: of the whole run.
        seconds: a step took here.
    """
    steps = config.train.steps
    tried = f"the rows of {parts.world.size} of {ranks} ranks, on this machine"
    shown = Table("what", "value", title=f"dry run of {config.run.folder}")
    exact = "inexact: statistics of each rank's own rows" if config.towers.norm == "batch" else "exact"
    image = config.towers.image
    noun = "pairs" if image else "texts"
    for name, value in (
        (
            "data",
            f"{parts.data.label}, {len(parts.data):,} {noun}, {sum(len(d.shards) for d in parts.data.datasets)} shards",
        ),
        (
            "image tower",
            f"{image.name} at {image.size} px, norm {image.norm}" if image else "none",
        ),
        ("objectives", ", ".join(told_objective(each) for each in config.objectives)),
        ("parameters", ", ".join(f"{part} {count:,}" for part, count in counts.items())),
        (
            "steps",
            f"{steps:,} of {config.data.batch} {noun}, {steps * config.data.batch / len(parts.data):.1f} epochs",
        ),
        ("cut", f"{ranks} ranks x {config.train.micros(ranks)} micro-batches, gradient {exact}"),
        ("engine", f"{config.engine.kind} on {parts.device}, precision {config.engine.precision}"),
        *([("tried", tried)] if ranks != parts.world.size else []),
        ("expected time", f"{steps * seconds / 60:.1f} minutes at {seconds * 1000:.0f} ms a step on this machine"),
        ("checkpoint", f"{checkpoint_bytes / 1e6:.0f} MB each, {config.train.keep_last} kept"),
    ):
        shown.add_row(name, value)
    return shown
