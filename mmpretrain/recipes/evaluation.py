"""Evaluation during and after a run: every evaluator of a config, and what is kept of its answers."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mmpretrain.core.distributed import on_main
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import digest, dump
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import UnusableSample
from mmpretrain.data.labels import Labels
from mmpretrain.data.samples import Reading
from mmpretrain.engines.base import Engine
from mmpretrain.evaluation.base import Evaluator, Found
from mmpretrain.evaluation.build import EvaluatorSettings
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.held_out import HeldOutEvaluator
from mmpretrain.evaluation.question_answering import QuestionAnsweringTask
from mmpretrain.recipes.asking import embedder, training_sets
from mmpretrain.recipes.assemble import Parts, open_split
from mmpretrain.recipes.best import refuse_best_of_one_class
from mmpretrain.recipes.combinations import refuse_unlisted
from mmpretrain.recipes.prompt import prompt_ids, unseen_words, within_context
from mmpretrain.recipes.thumbnails import example
from mmpretrain.recipes.usable import reading_of, remarks, usable
from mmpretrain.recipes.written import written as what_it_writes
from mmpretrain.report.wording import SPACE, figure_text, interval_text
from mmpretrain.train.metrics import Display


class Evaluation:
    """The evaluators of a run and the splits that they need."""

    def __init__(self, parts: Parts, place: Run, chosen: Sequence[EvaluatorSettings], told: Sequence[str] = ()) -> None:
        """`told`: what readers of every figure have to know."""
        self.parts = parts
        self.told = told
        self.place = place
        self.chosen = chosen
        chosen = [with_head(settings, parts.config.objectives) for settings in chosen]
        self.evaluators: list[Evaluator] = [settings.build() for settings in chosen]
        splits = dict.fromkeys(split for settings in chosen for split in settings.splits)
        self.datasets = {split: open_split(parts, split) for split in splits}
        self._trained = training_sets(parts)
        self._asked: Embedder | None = None
        for settings in chosen:
            if hasattr(settings, "generation"):
                # refused before anything is written
                within_context(settings.generation, parts.tokenizer.context_length)
                prompt_ids(settings.generation, parts.tokenizer)
        for number, settings in enumerate(chosen):
            if isinstance(settings, QuestionAnsweringTask) and settings.answers == "listed":
                refuse_unlisted(f"evaluation.{number}.answers", settings.head, parts.labels[settings.head].classes)
            refuse_other_classes(number, settings, self.datasets[settings.split], parts.labels)
        refuse_best_of_one_class(parts.config.train.keep_best, chosen, parts.labels)

    def run(self, engine: Engine, step: int, display: Display | None, with_examples: bool = False) -> list[dict]:
        """Every evaluator once; results go to results.jsonl, the last ones' samples and examples beside it.

        Args:
            display: of a run, which goes on where the disk does not take a result.

        Raises:
            DataError: more of a split cannot be used than data.breaker.share allows; less is left out and told.
            MmpretrainError: without a display: the disk does not take a result.
        """
        records = []
        with engine.evaluating():
            self._asked = None  # what it remembers is of other weights
            for settings, evaluator in zip(self.chosen, self.evaluators, strict=True):
                began = time.perf_counter()
                found = self._ask(evaluator, engine)
                if with_examples and isinstance(evaluator, HeldOutEvaluator):
                    # all ranks write together; what they wrote is the main one's to keep
                    written = what_it_writes(self.parts, engine, self.datasets[evaluator.split])
                    found.shown["samples"] = written or []
                records.append(self._record(settings, evaluator, found, step, time.perf_counter() - began))
                failure = on_main(partial(self._try_to_keep, evaluator, found, records[-1], with_examples))
                if failure and not display:
                    raise MmpretrainError(failure)
                if display:
                    display.say(failure or headline(records[-1], evaluator.headline))
                    for remark in remarks(self.datasets[evaluator.split], "of the split") if with_examples else []:
                        display.say(f"note: {remark}")
        return records

    def _ask(self, evaluator: Evaluator, engine: Engine) -> Found:
        """An answer; where a sample cannot be used, once more without all such samples of its split."""
        while True:
            if self._asked is None:
                self._asked = embedder(self.parts, engine, self.datasets, self._trained)
            try:
                return evaluator.run(self._asked)
            except UnusableSample as bad:
                self._go_without(bad)
                self._asked = None

    def _go_without(self, bad: UnusableSample) -> None:
        """Raises UnusableSample: its split was looked through already, or holds nothing bad any more."""
        every = [*self.datasets.values(), *self._trained.values()]
        whole = next((each for each in every if each.identity == bad.split and not each.left_out), None)
        if whole is None:
            raise bad
        part = usable(whole, reading_of(self.parts.config), self.parts.config.data.breaker.share)
        if not part.left_out:  # what cannot be used now can be used again, which asking once more would not settle
            raise bad
        for splits in (self.datasets, self._trained):
            splits |= {name: part for name, each in splits.items() if each.identity == bad.split}

    def _remarks(self, split: str, found: Found) -> list[str]:
        """What a reader has to know, of the samples and of the figures."""
        learned = [remark for each in self._trained.values() for remark in remarks(each, "to learn from")]
        return [*remarks(self.datasets[split], "of the split"), *learned, *found.remarks]

    def _of_prompt(self, settings: Any) -> list[str]:
        generation = getattr(settings, "generation", None)
        return unseen_words(generation, self.parts.tokenizer, self.parts.module) if generation else []

    def _record(
        self, settings: EvaluatorSettings, evaluator: Evaluator, found: Found, step: int, seconds: float
    ) -> dict[str, Any]:
        dataset = self.datasets[evaluator.split]
        chosen = changed(settings)
        told = [*self.told, *self._of_prompt(settings), *self._remarks(evaluator.split, found)]
        return {
            "dataset": dataset.folder.name,
            "split": dataset.split,
            "task": evaluator.name,
            "step": step,
            "seed": self.parts.config.train.seed,
            "config_digest": digest(self.parts.config),
            "seconds": round(seconds, 3),
            "metrics": {name: figure.as_dict() for name, figure in found.metrics.items()},
            **({"settings": chosen} if chosen else {}),
            **({"remarks": told} if told else {}),
            **({"left_out": list(dataset.left_out.values())} if dataset.left_out else {}),
            **found.facts,
        }

    def _try_to_keep(self, evaluator: Evaluator, found: Found, record: dict[str, Any], *more: Any) -> str | None:
        """What the disk says, where it does not take the result."""
        try:
            self._keep(evaluator, found, record, *more)
        except OSError as error:
            return f"{self.place.results}: the {record['task']} of step {record['step']} was not kept: {error}"
        return None

    def _keep(self, evaluator: Evaluator, found: Found, record: dict[str, Any], with_examples: bool) -> None:
        self.place.add_result(record)
        if not with_examples:
            return
        self.place.predictions.mkdir(exist_ok=True)
        home = record["dataset"] == self.parts.data.datasets[0].folder.name
        label = record["split"] if home else f"{record['dataset']}-{record['split']}"
        facts = {name: record[name] for name in ("dataset", "split", "step", "head") if name in record}
        shown = self._with_pictures(evaluator.split, found.shown)
        head = record.get("settings", {}).get("head")
        file = self.place.predictions / f"{evaluator.name}_{label}{f'_{head}' if head else ''}.json"
        write_atomic(file, json.dumps({**facts, **shown}, ensure_ascii=False))
        if found.samples:
            write_atomic(file.with_suffix(".jsonl"), "".join(f"{line}\n" for line in lines(found.samples)))

    def _with_pictures(self, split: str, shown: dict[str, Any]) -> dict[str, Any]:
        """What is shown, each object with `row` filled with that sample's picture and caption."""
        wanted = set(rows_in(shown))
        if not wanted:
            return shown
        samples = self.datasets[split].samples(Reading(limits=self.parts.config.data.limits))
        examples = {row: example(sample) for row, sample in enumerate(samples) if row in wanted}
        filled: dict[str, Any] = fill(shown, examples)
        return filled


def with_head(settings: Any, objectives: Sequence[Any]) -> Any:
    """An evaluator that names no head, with the only one of its kind."""
    if getattr(settings, "head", None) != "":
        return settings
    return replace(settings, head=next(each.called for each in objectives if each.kind in settings.asks))


def refuse_other_classes(number: int, settings: Any, dataset: Dataset, labels: Mapping[str, Labels]) -> None:
    """Masks of other classes than those of the head that is asked.

    Raises:
        ConfigError: names the split and both.
    """
    if settings.kind != "segmentation":
        return
    there, learned = list(dataset.card.mask_classes), list(labels[settings.head].mask_classes)
    if there != learned:
        told = f"masks of {', '.join(there)}" if there else "no masks"
        raise ConfigError(
            f"evaluation.{number}.split: {dataset.folder.name}:{dataset.split} has {told}, and {settings.head} learns "
            f"{', '.join(learned)}; use another split"
        )


def changed(settings: EvaluatorSettings) -> dict[str, Any]:
    """What differs from the defaults of the evaluator, by path, as `mmpretrain evaluate` takes it."""
    plain = dump(type(settings)(split="?"))
    told = differing(plain, {**dump(settings), "split": "?"}, "")
    # a kind decides which other settings there are
    return dict(sorted(told.items(), key=lambda item: not item[0].endswith("kind")))


def differing(old: Any, new: Any, path: str) -> dict[str, Any]:
    """Values of nested dictionaries that are not those of others; lists are one value."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {path: new}
    parts = [differing(old.get(key), value, f"{path}.{key}".lstrip(".")) for key, value in new.items()]
    return {name: value for part in parts for name, value in part.items()}


def lines(samples: dict[str, Sequence[Any]]) -> list[str]:
    """A JSON object for each sample."""
    rows = zip(*samples.values(), strict=True)
    return [json.dumps(dict(zip(samples, row, strict=True)), ensure_ascii=False) for row in rows]


def rows_in(shown: Any) -> list[int]:
    """Every `row` in a tree of dictionaries and lists."""
    if isinstance(shown, dict):
        own = [shown["row"]] if isinstance(shown.get("row"), int) else []
        return own + [row for value in shown.values() for row in rows_in(value)]
    return [row for value in shown for row in rows_in(value)] if isinstance(shown, list) else []


def fill(shown: Any, examples: dict[int, dict[str, Any]]) -> Any:
    """The tree with the example of its `row` in each object that has one; what an object says itself stays."""
    if isinstance(shown, list):
        return [fill(value, examples) for value in shown]
    if not isinstance(shown, dict):
        return shown
    filled = {key: fill(value, examples) for key, value in shown.items() if key != "row"}
    return {**examples[shown["row"]], **filled} if isinstance(shown.get("row"), int) else filled


def headline(record: dict[str, Any], wanted: Sequence[str]) -> str:
    """A result in one line."""
    metrics = record["metrics"]
    names = [name for name in wanted if name in metrics] or [name for name in metrics if name.endswith("_accuracy")]
    told = [
        f"{name} {figure_text(name, metrics[name]['value'])} [{interval_text(name, metrics[name])}], chance "
        f"{figure_text(name, metrics[name]['chance'])}"
        for name in names
    ]
    head = record.get("head", record["task"])
    of = "" if head == record["task"] else f" of {head},"
    line = f"{record['task']}{of} {record['dataset']}:{record['split']} at step {record['step']}: {'; '.join(told)}"
    return line.replace(SPACE, " ")
