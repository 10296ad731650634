"""Retrieval both ways: R@K, median rank and the chance of each, one gallery a source."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.features import EmbeddedSplit, Embedder
from mmpretrain.evaluation.interval import Figure, bootstrap_means, bootstrap_medians, figure
from mmpretrain.evaluation.shown import spread

KS = (1, 5, 10)
EXAMPLES = 8
SHOWN = 5
QUERY_ROWS = 1024
"""Queries scored at a time, so that memory grows with the gallery and not with its square."""


@settings
class Retrieval(OfSplit):
    """Find the text of a picture (i2t) and the picture of a text (t2i)."""

    kind: Literal["retrieval"] = "retrieval"

    def build(self) -> "RetrievalEvaluator":
        return RetrievalEvaluator(self.split)


@dataclass(frozen=True)
class Ranking:
    """One direction in one gallery."""

    direction: str
    gallery: str
    rows: Tensor
    """Samples of the gallery, as rows of the split."""
    ranks: np.ndarray
    """Wrong answers ahead of the first right one, by query; ties count as ahead."""
    top_NK: Tensor
    """Rows of the best answers."""
    scores_NK: Tensor
    hits_NK: Tensor
    positives: np.ndarray
    """Right answers in the gallery, by query."""
    any_hits: dict[int, np.ndarray]
    """K -> whether any right answer is among the first K, ties broken by row: what is usually printed."""


class RetrievalEvaluator:
    """Metrics averaged over galleries, each query equally often drawn within its gallery."""

    headline: Sequence[str] = ("i2t_R@10", "t2i_R@10")

    def __init__(self, split: str) -> None:
        self.name = "retrieval"
        self.split = split

    def run(self, model: Embedder) -> Found:
        split = model.split(self.split)
        rankings = rank_split(split)
        count = max(2, EXAMPLES * 2 // len(rankings))
        ranks = [{"direction": r.direction, "gallery": r.gallery, "ranks": r.ranks.tolist()} for r in rankings]
        galleries = {name: split.galleries.count(name) for name in sorted(set(split.galleries))}
        queries = [query for ranking in rankings for query in examples(split, ranking, count)]
        return Found(
            metrics=summarise(rankings),
            facts={"galleries": galleries},
            shown={"k": SHOWN, "galleries": galleries, "queries": queries, "ranks": ranks},
        )


def rank_split(split: EmbeddedSplit) -> list[Ranking]:
    """Both directions in every gallery of a split."""
    return [rank(split, gallery, direction) for gallery in sorted(set(split.galleries)) for direction in ("i2t", "t2i")]


def rank(split: EmbeddedSplit, gallery: str, direction: str) -> Ranking:
    """Score every query of a gallery against all of its answers.

    A right answer shares the query's picture or its text. A query's rank counts wrong answers that score at
    least as high as its best right one: duplicates among wrong answers cannot flatter, nor can a constant model.
    """
    rows = split.rows(gallery)
    images, texts = split.image_NE[rows], split.text_NE[rows]
    queries, answers = (images, texts) if direction == "i2t" else (texts, images)
    image_group, text_group = split.image_group_N[rows], split.text_group_N[rows]
    parts = []
    for chosen in torch.arange(len(rows)).split(QUERY_ROWS):
        positive = (image_group[chosen, None] == image_group) | (text_group[chosen, None] == text_group)
        parts.append(_score(queries[chosen] @ answers.T, positive))
    ranks, top, scores, hits, positives = (torch.cat(column) for column in zip(*parts, strict=True))
    any_hits = {k: hits[:, :k].any(dim=1).numpy().astype(float) for k in KS}
    return Ranking(direction, gallery, rows, ranks.numpy(), top, scores, hits, positives.numpy(), any_hits)


def _score(similarity: Tensor, positive: Tensor) -> tuple[Tensor, ...]:
    # the best right answer's score comes out of the same product, or it could differ in the last bit
    best = similarity.masked_fill(~positive, float("-inf")).max(dim=1, keepdim=True).values
    ranks = ((similarity >= best) & ~positive).sum(dim=1)
    scores, top = similarity.topk(min(max(KS), similarity.shape[1]), dim=1)
    return ranks, top, scores, positive.gather(1, top), positive.sum(dim=1)


def summarise(rankings: list[Ranking]) -> dict[str, Figure]:
    """Each metric as the mean over galleries, with the interval of that mean."""
    metrics: dict[str, Figure] = {}
    for direction in ("i2t", "t2i"):
        chosen = [ranking for ranking in rankings if ranking.direction == direction]
        n = sum(len(ranking.ranks) for ranking in chosen)
        for k in KS:
            hits = [(ranking.ranks < k).astype(float) for ranking in chosen]
            metrics[f"{direction}_R@{k}"] = _mean(hits, np.mean([_chance_at(r, k) for r in chosen]), n)
            metrics[f"{direction}_any_hit@{k}"] = _mean(
                [r.any_hits[k] for r in chosen], metrics[f"{direction}_R@{k}"].chance, n
            )
        medians = [bootstrap_medians(ranking.ranks + 1, seed) for seed, ranking in enumerate(chosen)]
        metrics[f"{direction}_median_rank"] = figure(
            float(np.mean([np.median(ranking.ranks + 1) for ranking in chosen])),
            np.mean(medians, axis=0),
            float(np.mean([_chance_median(ranking) for ranking in chosen])),
            n,
        )
    return metrics


def _mean(values: list[np.ndarray], chance: Any, n: int) -> Figure:
    resampled = np.mean([bootstrap_means(part, seed) for seed, part in enumerate(values)], axis=0)
    return figure(float(np.mean([part.mean() for part in values])), resampled, float(chance), n)


def _chance_at(ranking: Ranking, k: int) -> float:
    """Mean probability that k answers drawn without replacement hold a right one."""
    size = len(ranking.rows)
    return float(np.mean([1 - _misses_all(size, int(p), k) for p in ranking.positives]))


def _misses_all(size: int, positives: int, k: int) -> float:
    chances = [max(0.0, (size - positives - draw) / (size - draw)) for draw in range(min(k, size))]
    return float(np.prod(chances))


def _chance_median(ranking: Ranking) -> float:
    """The median of 1 + wrong answers ahead under a random order, for the mean number of positives."""
    size = len(ranking.rows)
    misses = partial(_misses_all, size, round(float(ranking.positives.mean())))
    return float(next(place for place in range(1, size + 1) if misses(place) <= 0.5))


def examples(split: EmbeddedSplit, ranking: Ranking, count: int, shown: int = SHOWN) -> list[dict[str, Any]]:
    """Some queries with their first answers, hits and misses in turn, spread over the gallery."""
    hit = [row for row in range(len(ranking.ranks)) if ranking.ranks[row] < shown]
    missed = [row for row in range(len(ranking.ranks)) if ranking.ranks[row] >= shown]
    chosen = sorted(spread(hit, count - min(count // 2, len(missed))) + spread(missed, count // 2))
    return [
        {
            "direction": ranking.direction,
            "gallery": ranking.gallery,
            "rank": int(ranking.ranks[row]),
            "query": {"row": int(ranking.rows[row])},
            "top": [
                {"row": int(ranking.rows[answer]), "score": float(score), "hit": bool(is_hit)}
                for answer, score, is_hit in zip(
                    ranking.top_NK[row, :shown],
                    ranking.scores_NK[row, :shown],
                    ranking.hits_NK[row, :shown],
                    strict=True,
                )
            ],
        }
        for row in chosen
    ]
