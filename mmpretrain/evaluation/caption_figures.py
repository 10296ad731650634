"""From captions of several writers to figures with intervals, and differences between writers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.data.tokenizer import clean
from mmpretrain.evaluation.caption_scores import CaptionScores, exact_matches, score
from mmpretrain.evaluation.caption_tokens import Kind, tokenize
from mmpretrain.evaluation.interval import Figure, Statistic, figure, figures, joined, means, resampled
from mmpretrain.evaluation.java_scores import JavaScore, Overall, compute

COMPARED = ("CIDEr", "exact_match")
"""Scores of which the difference to the baselines is told."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came out."""

    scores: dict[str, CaptionScores]
    metrics: dict[str, Figure]
    failed: dict[str, str]
    """Scores that other programs did not give after all, and why."""


def judge(
    said: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], kind: Kind, java: Sequence[JavaScore]
) -> Judged:
    """Scores of `written`, of `most_frequent`, which is chance, and of other writers.

    All are cleaned as a tokenizer cleans what it reads: nobody can write a curled quotation mark that was straightened
    before it was learned.

    Args:
        said: a caption of each picture, by writer.
        java: scores that other programs give.
    """
    said = {writer: [clean(caption) for caption in captions] for writer, captions in said.items()}
    references = [[clean(caption) for caption in several] for several in references]
    # all at once: Java takes longer to start than to read
    flat = [caption for several in references for caption in several]
    tokens = iter(tokenize([*flat, *(caption for captions in said.values() for caption in captions)], kind))
    right = [[next(tokens) for _ in several] for several in references]
    words = {writer: [next(tokens) for _ in captions] for writer, captions in said.items()}
    scores = {writer: score(words[writer], right, exact_matches(said[writer], references)) for writer in said}
    metrics = caption_figures(scores)
    failed: dict[str, str] = {}
    for name in java:
        try:
            own, constant = (compute(name, words[writer], right) for writer in ("written", "most_frequent"))
            metrics[name] = overall_figure(own, constant)
        except MmpretrainError as error:
            failed[name] = str(error)
    return Judged(scores=scores, metrics=metrics, failed=failed)


def caption_figures(scores: Mapping[str, CaptionScores]) -> dict[str, Figure]:
    """All scores of what was written, those of the baselines, and the differences, over the same resamples."""
    n, own = len(scores["written"].cider_N), scores["written"].statistic()
    constant = scores["most_frequent"].statistic()(np.ones((1, n)))
    chances = {name: float(value_1[0]) for name, value_1 in constant.items()}
    beside = [writer for writer in scores if writer != "written"]
    others = {f"{name}_{writer}": name for writer in beside for name in COMPARED}
    above = [f"{name}_above_{writer}" for writer in beside for name in COMPARED]
    chances |= {each: chances[name] for each, name in others.items()} | dict.fromkeys(above, 0.0)
    found = figures(joined(own, *(compared(scores, writer) for writer in beside)), n, chances)
    first = ("CIDEr", "Bleu_4", "Bleu_3", "Bleu_2", "Bleu_1", "ROUGE_L", "exact_match")
    return {name: found[name] for name in (*first, *others, *above)}


def compared(scores: Mapping[str, CaptionScores], writer: str) -> Statistic:
    """A baseline's scores, and how much higher those of what was written are."""
    own, other = scores["written"].columns(), scores[writer].columns()
    columns = {f"{name}_{writer}": other[name] for name in COMPARED}
    return means(columns | {f"{name}_above_{writer}": own[name] - other[name] for name in COMPARED})


def overall_figure(own: Overall, constant: Overall) -> Figure:
    """A score that another program gives of the whole set.

    Its interval is that of the mean over pictures, stretched to the whole's value: the program cannot be asked for a
    thousand resamples.
    """
    mean = own.parts_N.mean()
    spread_R = resampled(means({"mean": own.parts_N}), len(own.parts_N))["mean"] * (own.value / mean if mean else 1.0)
    return figure(own.value, spread_R, constant.value, len(own.parts_N))
