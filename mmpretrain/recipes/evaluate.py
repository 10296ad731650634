"""Evaluation: during and after a run, and of any run on any dataset from the command line."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from mmpretrain.core.distributed import World, on_main
from mmpretrain.core.errors import ConfigError, MmpretrainError, QualityError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import build, did_you_mean, digest, read_yaml
from mmpretrain.data.card import parse_name
from mmpretrain.data.samples import Reading
from mmpretrain.data.tokenizer import load_tokenizer
from mmpretrain.engines.base import Engine
from mmpretrain.engines.single import Single
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.held_out import HeldOut, HeldOutEvaluator
from mmpretrain.evaluation.interval import Figure
from mmpretrain.evaluation.retrieval import Retrieval, RetrievalEvaluator, examples, rank_split
from mmpretrain.evaluation.zero_shot import ZeroShot, ZeroShotEvaluator
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.recipes.assemble import Parts, build_engine, build_parts, embedder, open_split
from mmpretrain.recipes.combinations import refuse_evaluation
from mmpretrain.recipes.data import index_on_first_use
from mmpretrain.recipes.settings import EvaluatorSettings, Pretrain
from mmpretrain.recipes.thumbnails import example
from mmpretrain.recipes.written import written as what_it_writes
from mmpretrain.train import checkpoint
from mmpretrain.train.metrics import Display

TASKS: dict[str, type[Retrieval] | type[ZeroShot] | type[HeldOut]] = {
    "retrieval": Retrieval,
    "zero_shot": ZeroShot,
    "held_out": HeldOut,
}
EXAMPLES = 8


class Evaluation:
    """The evaluators of a run and the splits that they need."""

    def __init__(self, parts: Parts, place: Run, chosen: Sequence[EvaluatorSettings]) -> None:
        self.parts = parts
        self.place = place
        self.evaluators = [settings.build() for settings in chosen]
        self.datasets = {e.split: open_split(parts, e.split) for e in self.evaluators}

    def run(self, engine: Engine, step: int, display: Display | None, with_examples: bool = False) -> list[dict]:
        """Every evaluator once; results go to results.jsonl, the last ones' examples beside it.

        Args:
            display: of a run, which goes on where the disk does not take a result.

        Raises:
            MmpretrainError: without a display: the disk does not take a result.
        """
        records = []
        with engine.evaluating():
            model = embedder(self.parts, engine, self.datasets)
            for evaluator in self.evaluators:
                began = time.perf_counter()
                metrics = evaluator.run(model)
                records.append(self._record(evaluator, metrics, step, time.perf_counter() - began))
                # all ranks write together; what they wrote is the main one's to keep
                asked = with_examples and isinstance(evaluator, HeldOutEvaluator)
                written = what_it_writes(self.parts, engine, self.datasets[evaluator.split]) if asked else None
                failure = on_main(partial(self._try_to_keep, evaluator, model, records[-1], with_examples, written))
                if failure and not display:
                    raise MmpretrainError(failure)
                if display:
                    display.say(failure or headline(records[-1]))
        return records

    def _record(self, evaluator: Any, metrics: dict[str, Figure], step: int, seconds: float) -> dict[str, Any]:
        dataset = self.datasets[evaluator.split]
        return {
            "dataset": dataset.folder.name,
            "split": dataset.split,
            "task": evaluator.name,
            "step": step,
            "seed": self.parts.config.train.seed,
            "config_digest": digest(self.parts.config),
            "seconds": round(seconds, 3),
            "metrics": {name: figure.as_dict() for name, figure in metrics.items()},
        }

    def _try_to_keep(self, evaluator: Any, model: Embedder, record: dict[str, Any], *more: Any) -> str | None:
        """What the disk says, where it does not take the result."""
        try:
            self._keep(evaluator, model, record, *more)
        except OSError as error:
            return f"{self.place.results}: the {record['task']} of step {record['step']} was not kept: {error}"
        return None

    def _keep(
        self,
        evaluator: Any,
        model: Embedder,
        record: dict[str, Any],
        with_examples: bool,
        written: list[dict[str, Any]] | None,
    ) -> None:
        if isinstance(evaluator, RetrievalEvaluator):
            split = model.split(evaluator.split)
            record["galleries"] = {name: split.galleries.count(name) for name in sorted(set(split.galleries))}
        self.place.add_result(record)
        if with_examples:
            self.place.predictions.mkdir(exist_ok=True)
            content = self._examples(evaluator, model, record, written)
            home = record["dataset"] == self.parts.data.datasets[0].folder.name
            label = record["split"] if home else f"{record['dataset']}-{record['split']}"
            write_atomic(
                self.place.predictions / f"{evaluator.name}_{label}.json", json.dumps(content, ensure_ascii=False)
            )

    def _examples(
        self, evaluator: Any, model: Embedder, record: dict[str, Any], written: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        facts = {"dataset": record["dataset"], "split": record["split"], "step": record["step"]}
        if isinstance(evaluator, HeldOutEvaluator):
            return {**facts, "samples": written or []}
        if isinstance(evaluator, ZeroShotEvaluator):
            classes = self.datasets[evaluator.split].card.classes
            n = record["metrics"]["acc1"]["n"]
            return {**facts, "classes": classes, "confusion": evaluator.confusion, "n": n}
        split = model.split(evaluator.split)
        rankings = rank_split(split)
        count = max(2, EXAMPLES * 2 // len(rankings))
        queries = [query for ranking in rankings for query in examples(split, ranking, count)]
        wanted = {row for query in queries for row in (query["query"], *(answer["row"] for answer in query["top"]))}
        samples = self.datasets[evaluator.split].samples(Reading(limits=self.parts.config.data.limits))
        shown = {row: example(sample) for row, sample in enumerate(samples) if row in wanted}
        for query in queries:
            query["query"] = shown[query["query"]]
            query["top"] = [{**answer, **shown[answer.pop("row")]} for answer in query["top"]]
        ranks = [{"direction": r.direction, "gallery": r.gallery, "ranks": r.ranks.tolist()} for r in rankings]
        return {**facts, "k": 5, "galleries": record["galleries"], "queries": queries, "ranks": ranks}


def headline(record: dict[str, Any]) -> str:
    """A result in one line."""
    metrics = record["metrics"]
    headlines = {"retrieval": ("i2t_R@10", "t2i_R@10"), "zero_shot": ("acc1",)}
    names = headlines.get(record["task"]) or [name for name in metrics if name.endswith("_accuracy")]
    told = [
        f"{name} {100 * metrics[name]['value']:.1f} % [{100 * metrics[name]['low']:.1f}, "
        f"{100 * metrics[name]['high']:.1f}], chance {100 * metrics[name]['chance']:.1f} %"
        for name in names
    ]
    return f"{record['task']} {record['dataset']}:{record['split']} at step {record['step']}: {'; '.join(told)}"


def evaluate(folder: Path, task: str, data: str, fail_under: Sequence[str], console: Console | None) -> dict[str, Any]:
    """Evaluate a run's newest checkpoint in one process.

    Args:
        data: `NAME:SPLIT`, or only `:SPLIT` of the dataset that the run was trained on.
        fail_under: gates such as `i2t_R@10=0.4`.

    Raises:
        QualityError: a gate was missed.
    """
    place = Run.open(folder)
    config = build(Pretrain, read_yaml(place.config), str(place.config))
    name, split = parse_name(data)
    home = config.data.parts[0].name
    if task not in TASKS:
        raise ConfigError(f"--task: unknown task {task!r}{did_you_mean(task, TASKS)}")
    if not split:
        raise ConfigError(f"--data: {data!r} names no split; write {name or home}:val or the like")
    chosen = TASKS[task](split=data if name else split)
    refuse_task(chosen, config)
    gates = [parse_gate(text) for text in fail_under]
    newest, complaints = checkpoint.find_newest(place.checkpoints)
    if newest is None:
        raise ConfigError(f"{folder}: no checkpoint to evaluate{': ' + complaints[0] if complaints else ''}")
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
    tokenizer = load_tokenizer(found.folder / "tokenizer.json", config.data.tokenizer.context_length)
    parts = build_parts(config, World(), tokenizer, trains=False)
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
