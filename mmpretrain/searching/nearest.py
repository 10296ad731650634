"""The vectors most like another one: exactly, in blocks, or by faiss where there are very many.

Suffixes: N vectors, Q queries, E embedding, K best.
"""

from typing import NamedTuple

import numpy as np
import torch

from mmpretrain.core.installed import is_there
from mmpretrain.evaluation.search import products

BLOCK = 65_536
"""Vectors scored at a time."""
LARGE = 500_000
"""Vectors from which faiss is asked, where it is installed."""
SLACK = 64
"""More than are wanted are asked of faiss, whose sums are fp32, and ordered by exact ones."""
ROUNDING = 1e-5
"""More than a sum of fp32 is wrong by, of vectors of unit length."""


class Nearest(NamedTuple):
    """Of each query, the best first; of equal scores the first in the gallery."""

    place_QK: np.ndarray
    score_QK: np.ndarray
    """fp32."""


def exact(vectors_NE: np.ndarray, query_QE: np.ndarray, count: int, block: int = BLOCK) -> Nearest:
    """By all scores; memory holds those of a block, whose vectors may stay on the disk."""
    queries = torch.from_numpy(np.ascontiguousarray(query_QE, dtype=np.float32))
    found = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)) for _ in queries]
    for start in range(0, len(vectors_NE), block):
        part = torch.from_numpy(np.array(vectors_NE[start : start + block], dtype=np.float32))
        score_QN = products(queries, part).numpy()
        for row, (place_K, score_K) in enumerate(found):
            place_N = np.concatenate([place_K, np.arange(start, start + len(part))])
            found[row] = best(place_N, np.concatenate([score_K, score_QN[row]]), count)
    return Nearest(np.stack([place_K for place_K, _ in found]), np.stack([score_K for _, score_K in found]))


def best(place_N: np.ndarray, score_N: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest scores, of equal ones those that stand first; places rise."""
    if count < len(score_N):
        # a sort of everything would take many times as long
        least = np.partition(score_N, len(score_N) - count)[len(score_N) - count]
        kept_M = np.flatnonzero(score_N >= least)
        place_N, score_N = place_N[kept_M], score_N[kept_M]
    order_K = np.lexsort((place_N, -score_N))[:count]
    return place_N[order_K], score_N[order_K]


def nearest(vectors_NE: np.ndarray, query_QE: np.ndarray, count: int, large: int = LARGE) -> Nearest:
    """The answers of `exact`, whoever finds them; neither builds anything, and vectors may stay on the disk.

    Args:
        large: number of vectors from which faiss is asked.
    """
    count = min(count, len(vectors_NE))
    if len(vectors_NE) <= large or not is_there("faiss") or not np.isfinite(query_QE).all():
        return exact(vectors_NE, query_QE, count)
    rows = [by_faiss(vectors_NE, query_E, count) for query_E in np.ascontiguousarray(query_QE, dtype=np.float32)]
    return Nearest(np.stack([place_K for place_K, _ in rows]), np.stack([score_K for _, score_K in rows]))


def by_faiss(vectors_NE: np.ndarray, query_E: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What faiss finds, by exact scores; where so many are alike that it may have left one out, all of them."""
    import faiss

    asked = min(count + SLACK, len(vectors_NE))
    (score_M,), (found_M,) = faiss.knn(query_E[None], vectors_NE, asked, metric=faiss.METRIC_INNER_PRODUCT)
    found_M = np.sort(found_M)
    (place_K,), (score_K,) = exact(vectors_NE[found_M], query_E[None], count)
    if asked < len(vectors_NE) and score_M.min() > score_K[-1] - ROUNDING:
        (place_K,), (score_K,) = exact(vectors_NE, query_E[None], count)
        return place_K, score_K
    return found_M[place_K], score_K
