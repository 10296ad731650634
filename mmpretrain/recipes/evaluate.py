"""Evaluation of any run on any dataset from the command line, by one process or by all that a launcher started."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from mmpretrain.core.distributed import World, on_all, on_main
from mmpretrain.core.errors import ConfigError, QualityError
from mmpretrain.core.run import Run
from mmpretrain.core.settings import apply_overrides, build, did_you_mean, dump
from mmpretrain.data.card import find_dataset, load_card, parse_name
from mmpretrain.engines.base import Engine, Precision
from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.single import Single
from mmpretrain.evaluation.build import EvaluatorSettings, tasks
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.recipes.assemble import Parts, build_engine, build_parts, evaluated_split, joined_world
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.combinations import refuse_evaluation
from mmpretrain.recipes.datasets.index import index_on_first_use
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.result_table import show
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.report.wording import lower_is_better
from mmpretrain.train import checkpoint

PREFERRED = ("val", "validation", "dev", "test")
"""Split of a dataset that is named alone, the first of these."""
ALIASES = {"zeroshot": "zero_shot", "fewshot": "few_shot", "vqa": "question_answering"}
"""Other names of tasks."""


def evaluate(
    folder: Path,
    task: str,
    data: str,
    fail_under: Sequence[str],
    console: Console | None,
    overrides: Sequence[str] = (),
    precision: Precision | None = None,
) -> dict[str, Any]:
    """Evaluate a run's best checkpoint where it keeps one, else its newest.

    Args:
        data: `NAME:SPLIT`, or only `:SPLIT` of the dataset that the run was trained on.
        fail_under: gates such as `i2t_R@10=0.4`.
        overrides: settings of the evaluator, such as `generation.kind=beam`.
        precision: of the matrix products; None: the run's own.

    Raises:
        QualityError: a gate was missed.
    """
    place = Run.open(folder)
    config = read_run(folder)
    told = []
    if precision:
        told = [f"Matrix products were taken in {precision}."]
        config = replace(config, engine=replace(config.engine, precision=precision))
    chosen = choose(config, task, data, overrides)
    gates = [parse_gate(text) for text in fail_under]
    quiet = console or Console(quiet=True)
    with joined_world(suited(config, World.from_environment().size)) as world:
        found = on_all(lambda: checkpoint.load(chosen_checkpoint(folder)))
        wanted = [evaluated_split(config.data, name) for name in chosen.splits]
        on_main(lambda: index_on_first_use(wanted, config.data.storage, quiet, ranks=world.size))
        parts, engine = load(config, found, world)
        evaluation = Evaluation(parts, place, [chosen], told)
        record = evaluation.run(engine, found.step, None, with_examples=True)[0]
    if console and world.is_main:
        show(record, console)
    refuse_under(record, gates)
    return record


def choose(config: Pretrain, task: str, data: str, overrides: Sequence[str]) -> EvaluatorSettings:
    """The evaluator that a command describes.

    Raises:
        ConfigError: no such task or setting, or the run has nothing that it could look at.
    """
    known = tasks()
    kind = ALIASES.get(task, task)
    if kind not in known:
        raise ConfigError(f"--task: unknown task {task!r}{did_you_mean(task, [*known, *ALIASES])}")
    settings: Any = known[kind]
    # defaults first, so that an override may enter a part of them; of another split, which may not go with all of them
    tree = {**dump(settings(split="?")), "split": split_name(config, data)}
    chosen: EvaluatorSettings = build(settings, apply_overrides(tree, overrides), f"--task {task}")
    try:
        refuse_evaluation([chosen], config.objectives)
    except ValueError as error:
        told = str(error).partition(": ")[2]
        raise ConfigError(f"--task: {told}; this run can be asked by {suited_tasks(config)}") from None
    return chosen


def suited_tasks(config: Pretrain) -> str:
    """What `--task` may be, of a run as it is."""
    found = []
    for name, settings in tasks().items():
        with suppress(ValueError):
            refuse_evaluation([settings(split="?")], config.objectives)
            found.append(name)
    return f"--task {', '.join(found)}" if found else "no task"


def split_name(config: Pretrain, data: str) -> str:
    """What an evaluator calls the split that `--data` names; of a dataset alone the one meant for choosing recipes.

    Raises:
        ConfigError: the dataset has no split of a usual name.
    """
    name, split = parse_name(data)
    if split:
        return data if name else split
    home = name or config.data.parts[0].name
    splits = load_card(find_dataset(home)).splits
    found = next((each for each in PREFERRED if each in splits), None)
    if found is None:
        raise ConfigError(f"--data: {data!r} names no split; write one of {', '.join(f'{home}:{s}' for s in splits)}")
    return f"{home}:{found}"


def suited(config: Pretrain, ranks: int) -> Pretrain:
    """The config with an engine for so many ranks: the run's own where it knows several."""
    precision = config.engine.precision
    if ranks == 1:
        return replace(config, engine=Single(precision=precision))
    return replace(config, engine=Ddp(precision=precision)) if config.engine.kind == "single" else config


def load(config: Pretrain, found: checkpoint.Checkpoint, world: World) -> tuple[Parts, Engine]:
    """The model of a checkpoint on all ranks, averaged weights where the run kept them."""
    config = suited(config, world.size)
    parts = build_parts(config, world, found.folder, trains=False)
    engine = build_engine(parts)
    engine.load(without_maps(config, found.weights), None, without_maps(config, found.average))
    return parts, engine


def load_single(config: Pretrain, found: checkpoint.Checkpoint) -> tuple[Parts, Engine]:
    """The same in this process alone."""
    return load(config, found, World())


def without_maps(config: Pretrain, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors but for those that lead to a teacher, who is needed in training alone."""
    maps = [f"objectives.{n}.maps." for n, each in enumerate(config.objectives) if isinstance(each, TextDistillation)]
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(maps))}


def parse_gate(text: str) -> tuple[str, float]:
    """`i2t_R@10=0.4` as name and value."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--fail-under: {text!r}; write METRIC=NUMBER such as i2t_R@10=0.4") from None


def refuse_under(record: dict[str, Any], gates: Sequence[tuple[str, float]]) -> None:
    """Raises QualityError: a metric is worse than its gate; ConfigError: there is no such metric."""
    metrics = record["metrics"]
    for name, bound in gates:
        if name not in metrics:
            raise together(ConfigError(f"--fail-under: unknown metric {name!r}{did_you_mean(name, metrics)}"))
        value = metrics[name]["value"]
        if value > bound if lower_is_better(name) else value < bound:
            least_or_most = "most" if lower_is_better(name) else "least"
            raise together(QualityError(f"{name} is {value:.4f}, asked for at {least_or_most} {bound:g}"))


def together(error: ConfigError | QualityError) -> ConfigError | QualityError:
    """An error that all ranks raise alike, so that one of them tells it."""
    error.on_every_rank = True
    return error
