"""The first thing a reader sees: the number that matters, what it stands against, and what it took."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record
from mmpretrain.report.gap import Gap, first_gaps
from mmpretrain.report.results import Bar, bar_scale, build_bar

HEADLINES = {
    "question_answering": ("vqa_acc",),
    "classification": ("acc1",),
    "captioning": ("CIDEr",),
    "segmentation": ("mIoU",),
    "retrieval": ("i2t_R@10", "t2i_R@10"),
    "zero_shot": ("acc1",),
    "probe": ("acc1",),
}
"""What a task comes down to; what a run was trained for comes first."""
SUBJECTS = {
    "question_answering": "On {split}, {value} of the questions are answered rightly",
    "classification": "On {split}, {value} of the pictures get their right class",
    "segmentation": "On {split}, found and true masks overlap by {value}",
    "captioning": "On {split}, the captions score a CIDEr of {value}",
    "retrieval": "On {split}, the match is among the first ten answers in {value} of searches",
    "zero_shot": "On {split}, {value} of the pictures get their right class without training on classes",
    "probe": "On {split}, {value} of the pictures get their right class from a linear probe",
    "mAP": "On {split}, the mean average precision of the classes is {value}",
}
MEASURES = {
    "question_answering": ("VQA accuracy", "questions"),
    "classification": ("Accuracy", "pictures"),
    "captioning": ("CIDEr", "pictures"),
    "segmentation": ("Mean intersection over union of the classes", "pictures"),
    "retrieval": ("Mean R@10 of image → text and text → image", "queries"),
    "zero_shot": ("Zero-shot accuracy", "queries"),
    "probe": ("Accuracy of a linear probe", "pictures"),
    "mAP": ("Mean average precision", "pictures"),
}
GUESSING = {
    "question_answering": "the best constant answer gives",
    "captioning": "the most frequent caption gives",
}
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
    gaps: list[Gap]
    full_length: str
    facts: list[tuple[str, str, str]]


def build_verdict(record: Record) -> Verdict:
    """What came out, or how far the run has got."""
    tasks = (*HEADLINES, "held_out")
    task = next((each for each in tasks if _scored(record, each, headline_names(record, each))), None)
    if task is None:
        nothing: dict[str, Any] = {"detail": "", "scores": [], "gaps": [], "full_length": ""}
        return Verdict(headline=_progress(record), **nothing, facts=build_facts(record))
    names = headline_names(record, task)
    results = _scored(record, task, names)
    figures = [mean_figure(result, names) for result in results]
    full = bar_scale(figure["high"] for figure in figures)
    return Verdict(
        headline=_headline(task, names, record.label_of(task, results[0]), figures[0]),
        detail=_detail(task, names, figures[0], results[0]["metrics"], record),
        scores=[_score(record, names[0], result, f, full) for result, f in zip(results, figures, strict=True)],
        gaps=first_gaps(record),
        full_length=f"{full:g}" if wording.is_score(names[0]) else wording.percent(full, 0),
        facts=build_facts(record),
    )


def headline_names(record: Record, task: str) -> tuple[str, ...]:
    """The metrics that stand for a task; of what the objectives ask, the accuracy of the first one in the results."""
    if task == "classification" and any("mAP" in result["metrics"] for result in record.newest(task)):
        return ("mAP",)  # of several classes a picture
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


def _headline(task: str, names: tuple[str, ...], split: str, figure: dict[str, float]) -> str:
    value = wording.figure_text(names[0], figure["value"])
    answered = f"On {{split}}, {{value}} {wording.answered(names[0].removesuffix(ACCURACY))}"
    subject = SUBJECTS.get(names[0], SUBJECTS.get(task, answered)).format(split=split, value=value)
    guessing = GUESSING.get(task, "guessing gives")
    if figure["low"] <= figure["chance"] <= figure["high"]:
        return f"{subject}, which cannot be told from {'guessing' if task not in GUESSING else f'what {guessing}'}."
    if figure["value"] < figure["chance"]:
        return f"{subject}, less than {guessing}."
    if not figure["chance"]:
        return f"{subject}."
    return f"{subject}, {wording.times(figure['value'] / figure['chance'])} times what {guessing}."


def _detail(
    task: str, names: tuple[str, ...], figure: dict[str, float], metrics: dict[str, Any], record: Record
) -> str:
    what, unit = MEASURES.get(names[0], MEASURES.get(task, ("Accuracy", "answers")))
    state = "" if record.complete else f" The run is not finished: {_taken(record)} steps taken."
    return (
        f"{what} over {wording.count(figure['n'])} {unit}: 95{wording.SPACE}% interval "
        f"{wording.interval_text(names[0], figure)}, chance {wording.figure_text(names[0], figure['chance'])}."
        f"{_perplexity(names[0].removesuffix(ACCURACY), metrics)}{_beside(metrics)}{state}"
    )


def _beside(metrics: dict[str, Any]) -> str:
    """What a baseline gets on the same samples, where there is one."""
    if "question_only_acc" in metrics:
        return f" Without a look at the pictures: {wording.percent(metrics['question_only_acc']['value'])}."
    if otsu := metrics.get("otsu_mIoU"):
        return f" Otsu’s threshold, which learns nothing, gives {wording.percent(otsu['value'])}."
    if above := metrics.get("CIDEr_above_nearest_neighbour"):
        beside = wording.figure_text("CIDEr", metrics["CIDEr_nearest_neighbour"]["value"])
        return (
            f" The caption of the nearest training picture gets {beside}: a difference of "
            f"{wording.figure_text('CIDEr_above_', above['value'])}, {wording.interval_text('CIDEr_above_', above)}."
        )
    return ""


def _perplexity(objective: str, metrics: dict[str, Any]) -> str:
    """How many words a model of words is undecided between, where there is one."""
    loss = metrics.get(f"{objective}_loss")
    if objective not in wording.WORDS or loss is None:
        return ""
    value, chance = (wording.number(math.exp(min(loss[part], 50))) for part in ("value", "chance"))
    return f" Perplexity {value}; that of word frequencies alone is {chance}."


def _score(record: Record, metric: str, result: dict[str, Any], figure: dict[str, float], full: float) -> Score:
    return Score(
        label=record.label_of(result["task"], result),
        purpose=record.purpose(result["dataset"], result["split"]),
        value=wording.figure_text(metric, figure["value"]),
        interval=wording.interval_text(metric, figure),
        chance=wording.figure_text(metric, figure["chance"]),
        multiple=wording.against_chance(metric, figure),
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
