"""Retrieval both ways: R@K, median rank and the chance of each, one gallery a source."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.embedding_map import LACKING, can_be_drawn, embedding_map
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.galleries import galleries
from mmpretrain.evaluation.interval import Figure, bootstrap_means, bootstrap_medians, figure
from mmpretrain.evaluation.ranking import DIRECTIONS, Ranking, rank
from mmpretrain.evaluation.rerank import reranked
from mmpretrain.evaluation.shown_searches import SHOWN, shown_searches

KS = (1, 5, 10)


@settings
class Retrieval(OfSplit):
    """Find the texts of a picture (i2t) and the pictures of a text (t2i)."""

    kind: Literal["retrieval"] = "retrieval"
    captions: Literal["all", "first"] = "all"
    """Of samples with several captions: all of them are texts to search for, or only the first."""
    rerank: Annotated[int, Field(ge=0)] = 0
    """So many of the best answers of each query are judged again by the objective matching, pair by pair; 0: none."""

    def build(self) -> "RetrievalEvaluator":
        return RetrievalEvaluator(self)


class RetrievalEvaluator:
    """Metrics averaged over galleries, each query equally often drawn within its gallery.

    R@K: a right answer is ahead of all but K - 1 wrong ones; where several are right any of them counts. any_hit@K: the
    same with ties broken by place, which is CLIP_benchmark's recall@K. found_share@K: the mean share of right answers
    among the first K, where most queries have several.
    """

    name = "retrieval"
    headline: Sequence[str] = ("i2t_R@10", "t2i_R@10")

    def __init__(self, settings: Retrieval) -> None:
        self.split = settings.split
        self._every_caption = settings.captions == "all"
        self._rerank = settings.rerank

    def run(self, model: Embedder) -> Found:
        searched = galleries(model, self.split, self._every_caption)
        rankings = [
            rank(each, direction, max(*KS, SHOWN, self._rerank)) for each in searched for direction in DIRECTIONS
        ]
        if self._rerank:
            rankings = reranked(model, self.split, rankings, self._rerank)
        told = model.told(self.split)
        sizes = {each.name: len(each.rows_P) for each in searched}
        texts = {each.name: len(each.rows_T) for each in searched}
        facts = {"galleries": sizes, **({"texts": texts} if texts != sizes else {})}
        return Found(
            metrics=summarise(rankings),
            samples=lines(rankings, [each.key for each in told]),
            facts={**facts, **({"rerank": self._rerank} if self._rerank else {})},
            remarks=[] if can_be_drawn() else [LACKING],
            shown={
                "k": SHOWN,
                **({"map": embedding_map(searched, told, model.split(self.split).classes)} if can_be_drawn() else {}),
                **facts,
                "queries": shown_searches(rankings),
                "ranks": [
                    {
                        "direction": each.direction,
                        "gallery": each.gallery.name,
                        "ranks": each.ranks.tolist(),
                        "pictures": pictures_of(each),
                    }
                    for each in rankings
                ],
            },
        )


def pictures_of(ranking: Ranking) -> list[int]:
    """Which picture of the gallery each query is, or was said of: they are drawn together."""
    if ranking.direction == "i2t":
        return list(range(len(ranking.gallery.rows_P)))
    found: list[int] = ranking.gallery.picture_T.tolist()
    return found


def summarise(rankings: Sequence[Ranking]) -> dict[str, Figure]:
    """Each metric as the mean over galleries, with the interval of that mean."""
    metrics: dict[str, Figure] = {}
    for direction in DIRECTIONS:
        chosen = [ranking for ranking in rankings if ranking.direction == direction]
        n = sum(len(ranking.ranks) for ranking in chosen)
        several = any(np.median(ranking.positives) > 1 for ranking in chosen)
        for k in KS:
            hits = [(ranking.ranks < k).astype(float) for ranking in chosen]
            chance = float(np.mean([_chance_at(each, k) for each in chosen]))
            metrics[f"{direction}_R@{k}"] = _mean(hits, chance, n)
            metrics[f"{direction}_any_hit@{k}"] = _mean([each.any_hit(k) for each in chosen], chance, n)
            if several:
                share = float(np.mean([min(1.0, k / each.size) for each in chosen]))
                metrics[f"{direction}_found_share@{k}"] = _mean([each.found_share(k) for each in chosen], share, n)
            again = [(each.again < k).astype(float) for each in chosen if each.again is not None]
            if again:
                metrics[f"{direction}_R@{k}_rerank"] = _mean(again, chance, n)
        medians = [bootstrap_medians(ranking.ranks + 1, seed) for seed, ranking in enumerate(chosen)]
        metrics[f"{direction}_median_rank"] = figure(
            float(np.mean([np.median(ranking.ranks + 1) for ranking in chosen])),
            np.mean(medians, axis=0),
            float(np.mean([_chance_median(ranking) for ranking in chosen])),
            n,
        )
    return metrics


def _mean(values: Sequence[np.ndarray], chance: float, n: int) -> Figure:
    resampled = np.mean([bootstrap_means(part, seed) for seed, part in enumerate(values)], axis=0)
    return figure(float(np.mean([part.mean() for part in values])), resampled, chance, n)


def _chance_at(ranking: Ranking, k: int) -> float:
    """Mean probability that k answers drawn without replacement hold a right one."""
    counts, often = np.unique(ranking.positives, return_counts=True)
    chances = [1 - _misses_all(ranking.size, int(right), k) for right in counts]
    return float(np.average(chances, weights=often))


def _misses_all(size: int, positives: int, k: int) -> float:
    chances = [max(0.0, (size - positives - draw) / (size - draw)) for draw in range(min(k, size))]
    return float(np.prod(chances))


def _chance_median(ranking: Ranking) -> float:
    """The median of 1 + wrong answers ahead under a random order, for the mean number of positives."""
    misses = partial(_misses_all, ranking.size, round(float(ranking.positives.mean())))
    low, high = 1, ranking.size
    while low < high:  # the first place by which no right answer has come in less than half of all orders
        middle = (low + high) // 2
        low, high = (low, middle) if misses(middle) <= 0.5 else (middle + 1, high)
    return float(low)


def lines(rankings: Sequence[Ranking], keys: Sequence[str]) -> dict[str, Sequence[Any]]:
    """A line a query: how far down its first right answer is, and what came first."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("key", "direction", "gallery", "text", "rank", "right", "first", "score")
    }
    for ranking in rankings:
        own, asks_pictures = ranking.gallery, ranking.direction == "i2t"
        queries, answers = (own.rows_P, own.rows_T) if asks_pictures else (own.rows_T, own.rows_P)
        columns["key"] += [keys[row] for row in queries]
        columns["direction"] += [ranking.direction] * len(queries)
        columns["gallery"] += [own.name] * len(queries)
        columns["text"] += [""] * len(queries) if asks_pictures else own.texts_T
        columns["rank"] += ranking.ranks.tolist()
        columns["right"] += ranking.positives.tolist()
        columns["first"] += [keys[answers[place]] for place in ranking.found.top_QK[:, 0]]
        columns["score"] += [round(score, 6) for score in ranking.found.score_QK[:, 0].tolist()]
    return dict(columns)
