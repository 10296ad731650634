"""A step that learns: the run's own recipe once more, from what is left, with the original as a teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.compression.retrain import Retrain
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import to_yaml
from mmpretrain.engines.single import Single
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.distillation import Distillation
from mmpretrain.objectives.pairs import PairLearner
from mmpretrain.recipes.opened import Opened, open_best
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import Pretrain


def retrain(step: Retrain, start: Path, original: Opened, out: Path, console: Console) -> str:
    """Train a run in `out`, or go on with the one that is there; returns what was done, in one line.

    Args:
        start: the run to learn on from.
        original: the teacher.

    Raises:
        ConfigError: the run's data are gone, or cannot be distilled from.
        Interrupted: a signal ended it; the same command goes on.
    """
    config = recipe(step, open_best(start).config, start, original, out)
    file = out.with_name(f"{out.name}.yaml")
    if not Run(out).complete.exists():
        write_atomic(file, to_yaml(config))
        try:
            pretrain(file, [], "auto", console)
        finally:
            file.unlink(missing_ok=True)
    taught = any(isinstance(each, Distillation) for each in config.objectives)
    return f"{step.steps} steps, {'taught by the original' if taught else 'without a teacher'}"


def recipe(step: Retrain, config: Pretrain, start: Path, original: Opened, out: Path) -> Pretrain:
    """The run's config with another start, length and rate; evaluations are left to the rows of `compress`."""
    warmup = int(step.warmup * step.steps)
    schedule = replace(config.optim.schedule, rate=step.rate or config.optim.schedule.rate / 2, warmup=warmup)
    train = replace(config.train, steps=step.steps, keep_last=1, seed=seed_of(step, config))
    train = replace(train, evaluate_every=None, save_every=None, keep_best=None, patience=None, fixed_parts=None)
    try:
        return replace(
            config,
            run=replace(config.run, folder=str(out)),
            init=str(start),
            data=replace(config.data, seed=seed_of(step, config) if step.seed is not None else config.data.seed),
            objectives=objectives(step, config, original, out),
            optim=replace(config.optim, schedule=schedule),
            engine=Single(precision=precision_of(config)),
            train=train,
            evaluation=[],
        )
    except ValueError as error:
        raise ConfigError(f"steps: retrain: {error}") from error


def seed_of(step: Retrain, config: Pretrain) -> int:
    return config.train.seed if step.seed is None else step.seed


def precision_of(config: Pretrain) -> Any:
    """The run's, unless this process does not know it."""
    precision = config.engine.precision
    return precision if precision in ("auto", "fp32", "bf16") else "auto"


def objectives(step: Retrain, config: Pretrain, original: Opened, out: Path) -> list[Any]:
    """The run's, and the original in the place of whoever taught it before."""
    own = [each for each in config.objectives if not isinstance(each, Distillation)]
    shares_a_space = "features" in original.module.needs
    if not step.distillation or not shares_a_space:
        return own or list(config.objectives)
    if config.data.order == "streaming":
        raise ConfigError(
            "steps: retrain.distillation: looks the teacher's vectors up by place, and streaming has none; use 0"
        )
    teacher = Distillation(
        weight=step.distillation,
        teacher=str(original.folder),
        teacher_scale=scale_of(original.module),
        cache=str(out.parent / "teacher"),
    )
    return [*own, teacher]


def scale_of(module: TrainingModule) -> float:
    """The inverse temperature that the original learned."""
    learner: Any = next((each for each in module.objectives if isinstance(each, PairLearner)), None)
    return 1 / 0.07 if learner is None else float(learner.scale().detach())
