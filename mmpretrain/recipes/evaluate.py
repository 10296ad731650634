"""Evaluation of any run on any dataset from the command line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, QualityError
from mmpretrain.core.run import Run
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.card import parse_name
from mmpretrain.engines.base import Engine
from mmpretrain.engines.single import Single
from mmpretrain.evaluation.build import EvaluatorSettings, tasks
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.recipes.assemble import Parts, build_engine, build_parts
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.combinations import refuse_evaluation
from mmpretrain.recipes.data import index_on_first_use
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.train import checkpoint


def evaluate(folder: Path, task: str, data: str, fail_under: Sequence[str], console: Console | None) -> dict[str, Any]:
    """Evaluate a run's newest checkpoint in one process.

    Args:
        data: `NAME:SPLIT`, or only `:SPLIT` of the dataset that the run was trained on.
        fail_under: gates such as `i2t_R@10=0.4`.

    Raises:
        QualityError: a gate was missed.
    """
    place = Run.open(folder)
    config = read_run(folder)
    name, split = parse_name(data)
    home = config.data.parts[0].name
    known = tasks()
    if task not in known:
        raise ConfigError(f"--task: unknown task {task!r}{did_you_mean(task, known)}")
    if not split:
        raise ConfigError(f"--data: {data!r} names no split; write {name or home}:val or the like")
    chosen = known[task](split=data if name else split)
    refuse_task(chosen, config)
    gates = [parse_gate(text) for text in fail_under]
    newest = chosen_checkpoint(folder)
    index_on_first_use([(name or home, split)], config.data.storage, console or Console(quiet=True))
    found = checkpoint.load(newest)
    parts, engine = load_single(config, found)
    evaluation = Evaluation(parts, place, [chosen])
    record = evaluation.run(engine, found.step, None, with_examples=True)[0]
    if console:
        console.print(table(record))
    refuse_under(record, gates)
    return record


def refuse_task(chosen: EvaluatorSettings, config: Pretrain) -> None:
    """Raises ConfigError: the run has nothing that this evaluator could look at."""
    try:
        refuse_evaluation([chosen], config.objectives)
    except ValueError as error:
        raise ConfigError(f"--task: {str(error).partition(': ')[2]}") from None


def load_single(config: Pretrain, found: checkpoint.Checkpoint) -> tuple[Parts, Engine]:
    """The model of a checkpoint in this process, averaged weights where the run kept them."""
    config = replace(config, engine=Single(precision=config.engine.precision))
    parts = build_parts(config, World(), found.folder, trains=False)
    engine = build_engine(parts)
    engine.load(without_maps(config, found.weights), None, without_maps(config, found.average))
    return parts, engine


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
    metrics = record["metrics"]
    for name, bound in gates:
        if name not in metrics:
            raise ConfigError(f"--fail-under: unknown metric {name!r}{did_you_mean(name, metrics)}")
        value, lower_is_better = metrics[name]["value"], name.endswith(("_loss", "_rank"))
        if value > bound if lower_is_better else value < bound:
            least_or_most = "most" if lower_is_better else "least"
            raise QualityError(f"{name} is {value:.4f}, asked for at {least_or_most} {bound:g}")


def table(record: dict[str, Any]) -> Table:
    """A result as a person reads it; i2t: image query, text gallery."""
    title = f"{record['task']} on {record['dataset']}:{record['split']}, step {record['step']}"
    shown = Table("metric", "value", "95 % interval", "chance", "queries", title=title)
    for name, figure in record["metrics"].items():
        factor, unit, digits = (1, "", 2) if name.endswith(("rank", "loss")) else (100, " %", 1)
        parts = ("value", "low", "high", "chance")
        value, low, high, chance = (f"{factor * figure[part]:.{digits}f}" for part in parts)
        shown.add_row(name, f"{value}{unit}", f"{low} to {high}", f"{chance}{unit}", str(figure["n"]))
    return shown
