"""Searches that are worth a look: the clearest right ones, those that miss by little, and those that miss by far."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpretrain.evaluation.galleries import Gallery
from mmpretrain.evaluation.ranking import Ranking
from mmpretrain.evaluation.search import products

SHOWN = 5
EACH = 3
"""Searches of one kind in one direction, over all galleries."""


def shown_searches(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Some searches of each kind, direction and gallery."""
    galleries = {each.gallery.name for each in rankings}
    return [query for ranking in rankings for query in examples(ranking, max(1, EACH // len(galleries)))]


def examples(ranking: Ranking, count: int, shown: int = SHOWN) -> list[dict[str, Any]]:
    """`count` searches of each kind, with their first answers.

    hit: a right answer comes first, with the greatest lead over the first wrong one. near: it comes later but among the
    best answers that were kept, with the least distance to the first. miss: the most wrong answers are ahead of it.
    """
    kinds = {"hit": hits(ranking), "near": near_misses(ranking)}
    taken = {query for queries in kinds.values() for query in queries[:count]}
    kinds["miss"] = [query for query in worst_misses(ranking) if query not in taken]
    return [example(ranking, kind, query, shown) for kind, queries in kinds.items() for query in queries[:count]]


def hits(ranking: Ranking) -> list[int]:
    """Those whose first answer is right; the one that leads most comes first."""
    score_QK, hit_QK = ranking.found.score_QK.numpy(), ranking.found.hit_QK.numpy()
    # where all that were kept are right, the last of them stands for the first wrong one
    other_Q = np.where(hit_QK.all(axis=1), hit_QK.shape[1] - 1, (~hit_QK).argmax(axis=1))
    lead_Q = score_QK[:, 0] - np.take_along_axis(score_QK, other_Q[:, None], axis=1)[:, 0]
    return _ordered(np.flatnonzero(ranking.ranks == 0), -lead_Q)


def near_misses(ranking: Ranking) -> list[int]:
    """Those whose right answer was kept, but is not ahead of all wrong ones; the closest comes first."""
    score_QK, hit_QK = ranking.found.score_QK.numpy(), ranking.found.hit_QK.numpy()
    place_Q = hit_QK.argmax(axis=1)
    behind_Q = score_QK[:, 0] - np.take_along_axis(score_QK, place_Q[:, None], axis=1)[:, 0]
    return _ordered(np.flatnonzero((ranking.ranks > 0) & hit_QK.any(axis=1)), behind_Q)


def worst_misses(ranking: Ranking) -> list[int]:
    """Those that miss; the one whose right answer is farthest down comes first."""
    return _ordered(np.flatnonzero(ranking.ranks > 0), -ranking.ranks)


def _ordered(queries: np.ndarray, value_Q: np.ndarray) -> list[int]:
    found: list[int] = queries[np.argsort(value_Q[queries], kind="stable")].tolist()
    return found


def example(ranking: Ranking, kind: str, query: int, shown: int) -> dict[str, Any]:
    """One search with its first answers; where no right one is among them, with the best right one."""
    found, asks_pictures = ranking.found, ranking.direction == "i2t"
    columns = (found.top_QK[query, :shown], found.score_QK[query, :shown], found.hit_QK[query, :shown])
    top = [
        {**shown_one(ranking.gallery, int(place), not asks_pictures), "score": float(score), "hit": bool(hit)}
        for place, score, hit in zip(*columns, strict=True)
    ]
    return {
        "direction": ranking.direction,
        "gallery": ranking.gallery.name,
        "kind": kind,
        "rank": int(ranking.ranks[query]),
        "query": shown_one(ranking.gallery, query, asks_pictures),
        "top": top,
        **({} if any(each["hit"] for each in top) else {"right": best_right(ranking, query)}),
    }


def best_right(ranking: Ranking, query: int) -> dict[str, Any]:
    """The right answer that scores best."""
    own, asks_pictures = ranking.gallery, ranking.direction == "i2t"
    one, every = slice(query, query + 1), slice(0, ranking.size)
    right_A = own.pairs.block(one, every)[0] if asks_pictures else own.pairs.block(every, one)[:, 0]
    places_R = right_A.nonzero()[:, 0]
    query_E, answer_AE = (own.image_PE, own.text_TE) if asks_pictures else (own.text_TE, own.image_PE)
    score_R = products(query_E[one], answer_AE[places_R])[0]
    best = int(score_R.argmax())
    return {**shown_one(own, int(places_R[best]), not asks_pictures), "score": float(score_R[best])}


def shown_one(searched: Gallery, place: int, is_picture: bool) -> dict[str, Any]:
    """A picture or a text of a gallery."""
    if is_picture:
        return {"row": searched.rows_P[place]}
    return {"row": searched.rows_T[place], "caption": searched.texts_T[place]}
