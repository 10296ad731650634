"""Searches among vectors that tests make up."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mmpretrain.data.told import Told
from mmpretrain.evaluation.galleries import gallery
from mmpretrain.evaluation.ranking import DIRECTIONS, Ranking, rank


def ranked(
    images: torch.Tensor,
    texts: torch.Tensor,
    *,
    names: Sequence[str] | None = None,
    pictures: Sequence[int] | None = None,
    meanings: Sequence[int] | None = None,
    count: int = 10,
) -> list[Ranking]:
    """Both directions in every gallery, of one text a sample.

    Args:
        pictures: which samples show the same picture.
        meanings: which texts mean the same.
    """
    n = len(images)
    told = told_of(n, names=names, pictures=pictures, meanings=meanings)
    rows = [(row, 0) for row in range(n)]
    image_NE, text_NE = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    searched = [gallery(name, told, rows, image_NE, text_NE) for name in sorted({each.gallery for each in told})]
    return [rank(each, direction, count) for each in searched for direction in DIRECTIONS]


def told_of(
    n: int,
    *,
    names: Sequence[str] | None = None,
    pictures: Sequence[int] | None = None,
    meanings: Sequence[int] | None = None,
) -> list[Told]:
    """Samples without classes, one text each."""
    names, pictures, meanings = names or [""] * n, pictures or range(n), meanings or range(n)
    return [
        Told(
            key=f"k{row}",
            caption=f"text {row}",
            captions=(f"text {row}",),
            text_groups=(meanings[row],),
            gallery=names[row],
            image_group=pictures[row],
            label=-1,
            labels=(),
            answers=(),
            question_type="",
        )
        for row in range(n)
    ]


def noise(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
