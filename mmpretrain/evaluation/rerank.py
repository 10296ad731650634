"""The best answers of a search judged again, pair by pair, by a model that reads both together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.ranking import Ranking


def reranked(model: Embedder, split: str, rankings: Sequence[Ranking], count: int) -> list[Ranking]:
    """The rankings with their ranks after the first `count` answers of each query were judged again."""
    asked: dict[int, dict[str, float]] = {}
    for ranking in rankings:
        for row, text in pairs_of(ranking, count):
            asked.setdefault(row, {})[text] = 0.0
    rows = sorted(asked)
    judged = model.match(split, rows, [list(asked[row]) for row in rows])
    for row, scores in zip(rows, judged, strict=True):
        asked[row] = dict(zip(asked[row], scores.tolist(), strict=True))
    return [replace(ranking, again=ranks_of(ranking, asked, count)) for ranking in rankings]


def pairs_of(ranking: Ranking, count: int) -> list[tuple[int, str]]:
    """(sample of the picture, text) of each query with each of its best answers."""
    own, top = ranking.gallery, ranking.found.top_QK[:, :count].tolist()
    if ranking.direction == "i2t":
        return [(own.rows_P[query], own.texts_T[place]) for query, best in enumerate(top) for place in best]
    return [(own.rows_P[place], own.texts_T[query]) for query, best in enumerate(top) for place in best]


def ranks_of(ranking: Ranking, judged: dict[int, dict[str, float]], count: int) -> np.ndarray:
    """Wrong answers ahead of the first right one; a query without a right one among the best keeps its rank."""
    hit_QK = ranking.found.hit_QK[:, :count]
    score_QK = torch.tensor([judged[row][text] for row, text in pairs_of(ranking, count)]).view(hit_QK.shape)
    best_Q1 = score_QK.masked_fill(~hit_QK, float("-inf")).amax(dim=1, keepdim=True)
    ahead_Q = ((score_QK >= best_Q1) & ~hit_QK).sum(dim=1)
    ranks: np.ndarray = torch.where(hit_QK.any(dim=1), ahead_Q, ranking.found.ahead_Q).numpy()
    return ranks
