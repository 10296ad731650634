"""Tables of results: the newest evaluation of each split, every figure with interval and chance."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

SCALES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAX = ("any_hit@", "found_share@")
CONSTANT = "Chance is the best constant answer."
HINTS = {
    "question_answering": f"Accuracy by VQAv2’s rule: an answer counts in full where three people gave it. {CONSTANT} "
    "Without a look, the most frequent training answer to each question is given.",
    "classification": f"{CONSTANT} The calibration error is how far probabilities are from shares of right answers; "
    "fewer is better.",
    "captioning": "CIDEr counts in points, the other scores are shares. Chance is the most frequent caption of the "
    "training data; differences are paired, picture by picture.",
    "retrieval": "R@K is the share of queries with fewer than K wrong answers ahead of the first right one; ties count "
    "against the model, and where several answers are right any of them counts. Chance is what a random order gives. "
    "Fewer is better for ranks.",
    "zero_shot": "Chance is a draw among all classes.",
    "probe": f"Logistic regression on what the run says of pictures, which itself stays as it is. {CONSTANT}",
    "few_shot": f"The mean over draws of the examples; intervals are over draws and pictures. {CONSTANT}",
    "segmentation": "Intersection over union of found and true masks over all pixels, the mean of the classes. Chance "
    "is the best constant class; Otsu’s threshold needs no training.",
    "held_out": "A loss is the mean of −log p of the right answer, in nats; accuracy is the share of answers that are "
    f"right. {CONSTANT} It is the most frequent one, and for a loss the entropy of right answers.",
}
"""What a reader has to know of each task’s figures."""
UNITS = {
    "question_answering": "questions",
    "captioning": "pictures",
    "segmentation": "pictures",
    "retrieval": "queries",
    "held_out": "answers",
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value against chance, as fractions of the bar's full length."""

    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric, as text and as a bar."""

    name: str
    value: str
    interval: str
    chance: str
    multiple: str
    queries: str
    bar: Bar | None
    """None for what has no common scale with fractions."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one direction."""

    title: str
    rows: list[Row]
    lax_rows: list[Row]
    """Metrics that forgive ties, or count otherwise: shown on demand, because other papers print them."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One evaluated split."""

    task: str
    title: str
    purpose: str
    facts: str
    unit: str
    """What the figures are counted over."""
    remarks: list[str]
    full_length: str
    """What the full length of a bar stands for."""
    groups: list[Group]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The evaluated splits of one task."""

    title: str
    hint: str
    tables: list[Table]


def build_results(record: Record) -> list[Task] | None:
    """A table for each task and split, None before the first evaluation."""
    found = {task: [build_table(record, task, result) for result in record.newest(task)] for task in wording.TASKS}
    tasks = [
        Task(title=wording.TASKS[task], hint=HINTS[task], tables=tables) for task, tables in found.items() if tables
    ]
    return tasks or None


def build_table(record: Record, task: str, result: dict[str, Any]) -> Table:
    """The newest result of one split."""
    metrics, dataset, split = result["metrics"], result["dataset"], result["split"]
    full = bar_scale(min(1.0, figure["high"]) for name, figure in metrics.items() if has_bar(name))
    directions = dict.fromkeys(wording.split_direction(name)[0] for name in metrics)
    return Table(
        task=task,
        title=record.label_of(task, result),
        purpose=record.purpose(dataset, split),
        facts=_facts(result),
        unit=UNITS.get(task, "pictures"),
        remarks=result.get("remarks", []),
        full_length=wording.percent(full, 0),
        groups=[build_group(metrics, direction, full) for direction in directions],
    )


def build_group(metrics: dict[str, Any], direction: str, full: float) -> Group:
    """The metrics of one direction, in the order in which they were written."""
    own = {wording.split_direction(name)[1]: f for name, f in metrics.items() if name.startswith(direction)}
    rows = {name: build_row(name, figure, full) for name, figure in own.items()}
    return Group(
        title=wording.DIRECTIONS.get(direction, ""),
        rows=[row for name, row in rows.items() if not name.startswith(LAX)],
        lax_rows=[row for name, row in rows.items() if name.startswith(LAX)],
    )


def build_row(metric: str, figure: dict[str, Any], full: float) -> Row:
    """One figure as a person reads it."""
    return Row(
        name=wording.metric_name(metric),
        value=wording.figure_text(metric, figure["value"]),
        interval=wording.interval_text(metric, figure),
        chance="" if wording.is_difference(metric) else wording.figure_text(metric, figure["chance"]),
        multiple=wording.against_chance(metric, figure),
        queries=wording.count(figure["n"]),
        bar=build_bar(figure, full) if has_bar(metric) else None,
    )


def has_bar(metric: str) -> bool:
    """Ranks, losses, points and differences have no common scale with shares."""
    return wording.is_share(metric) and not wording.is_difference(metric)


def build_bar(figure: dict[str, Any], full: float) -> Bar:
    """A figure on a scale that ends at `full`."""
    parts = ("value", "low", "high", "chance")
    return Bar(**{part: min(1.0, max(0.0, figure[part] / full)) for part in parts})


def bar_scale(highs: Iterable[float]) -> float:
    """The shortest round scale that holds every interval, so that small figures stay readable."""
    highest = max(highs, default=1.0)
    return next((scale for scale in SCALES if highest <= scale), SCALES[-1])


def _facts(result: dict[str, Any]) -> str:
    """What was searched, by which rules, step and seed, in a sentence or two."""
    parts = [_searched(result), _rules(result)]
    parts.append(f"Evaluated at step {wording.count(result['step'])}, seed {result['seed']}.")
    return " ".join(part for part in parts if part)


def _searched(result: dict[str, Any]) -> str:
    pictures, texts = result.get("galleries", {}), result.get("texts", result.get("galleries", {}))
    sizes = [f"{name} {_size(pictures[name], texts[name])}".strip() for name in pictures]
    if len(sizes) > 1:
        return f"Galleries, searched apart and averaged: {'; '.join(sizes)}."
    return f"Gallery: {sizes[0]}." if sizes else ""


def _size(pictures: int, texts: int) -> str:
    if pictures == texts:
        return wording.count(pictures)
    return f"{wording.count(pictures)} pictures, {wording.count(texts)} texts"


def _rules(result: dict[str, Any]) -> str:
    """Settings without which the figures mean something else."""
    told = [
        f"the best {result['rerank']} judged again" if result.get("rerank") else "",
        f"words by {'the Penn Treebank' if result['tokenizer'] == 'ptb' else 'a plain rule'}"
        if "tokenizer" in result
        else "",
        f"learned from {result['learned_from']}" if "learned_from" in result else "",
        f"C {result['C']:g}" if "C" in result else "",
        f"{result['seeds']} draws" if "seeds" in result else "",
    ]
    return wording.sentence(", ".join(part for part in told if part))
