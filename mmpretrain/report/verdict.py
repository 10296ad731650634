"""The first thing a reader sees: the number that matters, what it stands against, and what it took."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record
from mmpretrain.report.results import Bar, bar_scale, build_bar

HEADLINES = {"retrieval": ("i2t_R@10", "t2i_R@10"), "zero_shot": ("acc1",), "segmentation": ("mIoU",)}
ACCURACY = "_accuracy"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One split's headline figure."""

    label: str
    purpose: str
    value: str
    interval: str
    chance: str
    multiple: str
    bar: Bar


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A sentence, the splits behind it, and facts as (name, value, remark)."""

    headline: str
    detail: str
    scores: list[Score]
    full_length: str
    facts: list[tuple[str, str, str]]


def build_verdict(record: Record) -> Verdict:
    """What came out, or how far the run has got."""
    tasks = (*HEADLINES, "held_out")
    task = next((task for task in tasks if _scored(record, task, headline_names(record, task))), None)
    if task is None:
        return Verdict(headline=_progress(record), detail="", scores=[], full_length="", facts=build_facts(record))
    names = headline_names(record, task)
    results = _scored(record, task, names)
    figures = [mean_figure(result, names) for result in results]
    full = bar_scale(figure["high"] for figure in figures)
    return Verdict(
        headline=_headline(names, record.label(results[0]["dataset"], results[0]["split"]), figures[0]),
        detail=_detail(names, figures[0], results[0]["metrics"], record),
        scores=[_score(record, result, f, full) for result, f in zip(results, figures, strict=True)],
        full_length=wording.percent(full, 0),
        facts=build_facts(record),
    )


def headline_names(record: Record, task: str) -> tuple[str, ...]:
    """The metrics that stand for a task; of what the objectives ask, the accuracy of the first one in the results."""
    if task in HEADLINES:
        return HEADLINES[task]
    told = [name for result in record.newest(task) for name in result["metrics"] if name.endswith(ACCURACY)]
    # words before passages and pairs: there are many more of them
    told.sort(key=lambda name: name.removesuffix(ACCURACY) not in wording.WORDS)
    return tuple(told[:1])


def mean_figure(result: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """The mean of some metrics of one result.

    The ends of the interval are the means of the ends: never too narrow, whatever the directions share.
    """
    figures = [result["metrics"][name] for name in names]
    mean = {part: statistics.fmean(f[part] for f in figures) for part in ("value", "low", "high", "chance")}
    return {**mean, "n": sum(figure["n"] for figure in figures)}


def _scored(record: Record, task: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [result for result in record.newest(task) if names and all(name in result["metrics"] for name in names)]


def _progress(record: Record) -> str:
    """For a run without results."""
    state = "The run is complete" if record.complete else "The run is at work or was stopped"
    return f"Not evaluated yet. {state}: {_taken(record)} steps taken."


def _headline(names: tuple[str, ...], split: str, figure: dict[str, float]) -> str:
    share = wording.percent(figure["value"])
    subject = {
        HEADLINES["retrieval"]: f"On {split}, the match is among the first ten answers in {share} of searches",
        HEADLINES[
            "zero_shot"
        ]: f"On {split}, {share} of the pictures get their right class without training on classes",
        HEADLINES["segmentation"]: f"On {split}, found and true masks overlap by {share}",
    }.get(names, f"On {split}, {share} {wording.answered(names[0].removesuffix(ACCURACY))}")
    if figure["low"] <= figure["chance"] <= figure["high"]:
        return f"{subject}, which cannot be told from guessing."
    if figure["value"] < figure["chance"]:
        return f"{subject}, less than guessing gives."
    return f"{subject}, {wording.times(figure['value'] / figure['chance'])} times what guessing gives."


def _detail(names: tuple[str, ...], figure: dict[str, float], metrics: dict[str, Any], record: Record) -> str:
    what, unit = {
        HEADLINES["retrieval"]: ("Mean R@10 of image → text and text → image", "queries"),
        HEADLINES["zero_shot"]: ("Zero-shot accuracy", "queries"),
        HEADLINES["segmentation"]: ("Mean intersection over union of the classes", "pictures"),
    }.get(names, ("Accuracy", "answers"))
    state = "" if record.complete else f" The run is not finished: {_taken(record)} steps taken."
    return (
        f"{what} over {wording.count(figure['n'])} {unit}: 95{wording.SPACE}% interval "
        f"{wording.interval_text('', figure)}, chance {wording.percent(figure['chance'])}."
        f"{_perplexity(names[0].removesuffix(ACCURACY), metrics)}{_threshold(metrics)}{state}"
    )


def _threshold(metrics: dict[str, Any]) -> str:
    """What segmentation without learning gives, where that was measured."""
    otsu = metrics.get("otsu_mIoU")
    return f" Otsu’s threshold, which learns nothing, gives {wording.percent(otsu['value'])}." if otsu else ""


def _perplexity(objective: str, metrics: dict[str, Any]) -> str:
    """How many words a model of words is undecided between, where there is one."""
    loss = metrics.get(f"{objective}_loss")
    if objective not in wording.WORDS or loss is None:
        return ""
    value, chance = (wording.number(math.exp(min(loss[part], 50))) for part in ("value", "chance"))
    return f" Perplexity {value}; that of word frequencies alone is {chance}."


def _score(record: Record, result: dict[str, Any], figure: dict[str, float], full: float) -> Score:
    return Score(
        label=record.label(result["dataset"], result["split"]),
        purpose=record.purpose(result["dataset"], result["split"]),
        value=wording.percent(figure["value"]),
        interval=wording.interval_text("", figure),
        chance=wording.percent(figure["chance"]),
        multiple=wording.against_chance("", figure),
        bar=build_bar(figure, full),
    )


def build_facts(record: Record) -> list[tuple[str, str, str]]:
    """What it took: steps, time, speed, model, data, hardware, date; only what the folder tells."""
    facts = [*_training_facts(record), *_model_facts(record), *_environment_facts(record)]
    return [fact for fact in facts if fact[1]]


def _training_facts(record: Record) -> list[tuple[str, str, str]]:
    if not record.metrics:
        return []
    seconds = sum(line["seconds"] for line in record.metrics)
    # the median: a record with an evaluation or a checkpoint in it says little about speed
    speed = statistics.median(line["samples_per_s"] for line in record.metrics)
    wait = statistics.median(line["data_wait"] for line in record.metrics)
    skipped = sum(line.get("skipped", 0) for line in record.metrics)
    epochs = record.data.get("epochs")
    passes = f", {wording.number(epochs)} epochs planned" if epochs else ""
    noun = "pairs" if record.has_pictures else "texts"
    batch = f"{wording.count(record.model['batch'])} a step, " if record.model.get("batch") else ""
    seen = wording.short_count(record.metrics[-1]["samples_seen"])
    return [
        ("Training", wording.duration(seconds), "in the loop, with evaluations and checkpoints on the way"),
        (
            "Steps",
            _taken(record),
            f"{batch}{seen} {noun} seen{passes}; {skipped or 'no'} steps skipped",
        ),
        ("Speed", f"{wording.number(speed)} samples/s", f"median; {wording.percent(wait)} of the time without data"),
    ]


def _taken(record: Record) -> str:
    taken = wording.count(record.metrics[-1]["step"]) if record.metrics else "0"
    planned = record.model.get("steps")
    return f"{taken} of {wording.count(planned)}" if planned else taken


def _model_facts(record: Record) -> list[tuple[str, str, str]]:
    if not record.model:
        return []
    parts = record.model.get("parameters", {})
    told = ", ".join(f"{name} {wording.short_count(amount)}" for name, amount in parts.items() if amount)
    total = record.model.get("total") or sum(parts.values())
    name = record.model.get("image_name", "")
    return [("Model", f"{wording.short_count(total)} parameters", f"{name}: {told}" if name else told)]


def _environment_facts(record: Record) -> list[tuple[str, str, str]]:
    found = record.environment
    cores = f"{found['cores']} cores, threads: {found.get('threads', 'default')}" if found.get("cores") else ""
    title = record.data.get("title", "")
    digest = record.data.get("digest", "")
    processor, _, units = str(found.get("processor", "")).partition(" (")
    hardware = ", ".join(part for part in (units.removesuffix(")"), cores) if part)
    return [
        ("Data", record.data.get("name", ""), title + (f", digest {digest[:12]}" if digest else "")),
        ("Hardware", processor, hardware),
        ("Date", str(found.get("date", ""))[:10], f"commit {found['commit']}" if found.get("commit") else ""),
    ]
