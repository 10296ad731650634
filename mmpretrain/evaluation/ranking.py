"""One direction of a search in one gallery, and how far down the first right answers are."""

from dataclasses import dataclass

import numpy as np

from mmpretrain.evaluation.galleries import Gallery
from mmpretrain.evaluation.search import Search, search

DIRECTIONS = ("i2t", "t2i")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One direction in one gallery; a query is a distinct picture, or a text."""

    direction: str
    gallery: Gallery
    found: Search
    again: np.ndarray | None = None
    """Ranks after the best answers were judged again."""

    @property
    def ranks(self) -> np.ndarray:
        """Wrong answers ahead of the first right one, by query; ties count as ahead."""
        return self.found.ahead_Q.numpy()

    @property
    def positives(self) -> np.ndarray:
        """Right answers in the gallery, by query."""
        return self.found.right_Q.numpy()

    @property
    def size(self) -> int:
        """Answers to choose from."""
        return len(self.gallery.rows_T if self.direction == "i2t" else self.gallery.rows_P)

    def any_hit(self, k: int) -> np.ndarray:
        """Whether any right answer is among the first k, ties broken by place: what is usually printed."""
        return self.found.hit_QK[:, :k].any(dim=1).numpy().astype(float)

    def found_share(self, k: int) -> np.ndarray:
        """The share of right answers that are among the first k."""
        return self.found.hit_QK[:, :k].sum(dim=1).numpy() / self.positives


def rank(searched: Gallery, direction: str, count: int) -> Ranking:
    """Score every query of a gallery against all of its answers.

    A query's rank counts wrong answers that score at least as high as its best right one: duplicates among wrong
    answers cannot flatter, nor can a constant model.

    Args:
        count: best answers that are wanted.
    """
    found = search(searched.image_PE, searched.text_TE, searched.pairs, direction, count)
    return Ranking(direction=direction, gallery=searched, found=found)
