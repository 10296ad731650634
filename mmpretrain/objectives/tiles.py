"""The matrix of all pairs of the global batch, walked through tile by tile so that it never exists as a whole.

Suffixes: R rows of this rank (pictures), C columns of all ranks (texts), E embedding.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

SIDE = 1024
"""Rows and columns of a tile. From 512 on the matrix products run at full speed, and two tiles of fp32 at 1,024 stay
near the processor's caches (`mmpretrain bench loss`)."""


class Relation(NamedTuple):
    """Which pairs are positives: those with the same picture or the same text."""

    image_group_C: Tensor
    text_group_C: Tensor
    own: slice
    """Columns of this rank's own pairs, whose pictures are its rows."""

    def counts(self) -> Tensor:
        """|P(j)| of every column: those with its picture, and with its text, less those with both.

        The relation is symmetric: that is also the count of the row of the same pair.
        """
        image_C, images_C = equals(self.image_group_C, self.image_group_C)
        text_C, texts_C = equals(self.text_group_C, self.text_group_C)
        both_C = image_C * len(image_C) + text_C
        both_C = equals(both_C, both_C)[1]
        return images_C + texts_C - both_C


def equals(group_X: Tensor, group_C: Tensor) -> tuple[Tensor, Tensor]:
    """For each of X groups a number up to C, and how many of C columns have it; of fixed shapes, so that no GPU is
    waited for.
    """
    ordered_C = group_C.sort().values
    first_X = torch.searchsorted(ordered_C, group_X)
    return first_X, torch.searchsorted(ordered_C, group_X, right=True) - first_X


class Product(NamedTuple):
    """One tile of logits; its tensors are buffers that the next tile overwrites, so they may be worked on in place."""

    rows: slice
    columns: slice
    logits_RC: Tensor
    """scale * row . column"""
    spare_RC: Tensor
    """Room of the same shape as the logits."""


class Tile(NamedTuple):
    """The same, of pictures and texts, with the pairs that belong together."""

    rows: slice
    columns: slice
    logits_RC: Tensor
    """scale * image . text"""
    differs_RC: Tensor
    """bool, True where a pair is no positive."""
    spare_RC: Tensor
    """Room of the same shape as the logits."""


def products(row_RE: Tensor, column_CE: Tensor, scale: Tensor | float, side: int = SIDE) -> Iterator[Product]:
    """The tiles of scale * row_RE @ column_CE.T, row by row.

    Every product has `out=`: autocast leaves those in the precision of the features.
    """
    size = min(side, len(row_RE)) * min(side, len(column_CE))
    logits, spare = row_RE.new_empty(size), row_RE.new_empty(size)
    for rows in blocks(len(row_RE), side):
        scaled_RE = scale * row_RE[rows]
        for columns in blocks(len(column_CE), side):
            logits_RC, spare_RC = (room(buffer, rows, columns) for buffer in (logits, spare))
            torch.mm(scaled_RE, column_CE[columns].T, out=logits_RC)
            yield Product(rows, columns, logits_RC, spare_RC)


def room(buffer: Tensor, rows: slice, columns: slice) -> Tensor:
    """The part of a flat buffer that a tile needs, in its shape."""
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return buffer[: shape[0] * shape[1]].view(shape)


def walk(image_RE: Tensor, text_CE: Tensor, scale: Tensor, relation: Relation, side: int = SIDE) -> Iterator[Tile]:
    """The tiles of scale * image_RE @ text_CE.T, row by row, with their positives."""
    size = min(side, len(image_RE)) * min(side, len(text_CE))
    differs, also = (image_RE.new_empty(size, dtype=torch.bool) for _ in range(2))
    image_group_R, text_group_R = relation.image_group_C[relation.own], relation.text_group_C[relation.own]
    for rows, columns, logits_RC, spare_RC in products(image_RE, text_CE, scale, side):
        differs_RC, also_RC = (room(buffer, rows, columns) for buffer in (differs, also))
        torch.ne(image_group_R[rows, None], relation.image_group_C[columns], out=differs_RC)
        torch.ne(text_group_R[rows, None], relation.text_group_C[columns], out=also_RC)
        yield Tile(rows, columns, logits_RC, differs_RC.logical_and_(also_RC), spare_RC)


def blocks(length: int, side: int) -> Iterator[slice]:
    """Neighbouring slices of at most `side` that cover `length`."""
    return (slice(start, min(start + side, length)) for start in range(0, length, side))


class Gradients:
    """Gradients of features and scale from the slopes d loss / d logits of every tile.

    With logits S = scale * image . text and slopes G:
        d image = scale * G @ text, d text = scale * G.T @ image, d scale = sum(G * S) / scale = sum(image * (G @ text))
    so the scale costs no pass over a tile.
    """

    def __init__(self, image_RE: Tensor, text_CE: Tensor, scale: Tensor) -> None:
        self._image_RE, self._text_CE, self._scale = image_RE, text_CE, scale
        self._image_gradient_RE, self._text_gradient_CE = torch.zeros_like(image_RE), torch.zeros_like(text_CE)

    def add(self, tile: Product | Tile, slope_RC: Tensor) -> None:
        """Take in one tile."""
        self._image_gradient_RE[tile.rows].addmm_(slope_RC, self._text_CE[tile.columns])
        self._text_gradient_CE[tile.columns].addmm_(slope_RC.T, self._image_RE[tile.rows])

    def finish(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of image_RE, text_CE and scale, where `gradient` is the loss's own."""
        parts = [
            (self._image_RE[rows] * self._image_gradient_RE[rows]).sum() for rows in blocks(len(self._image_RE), SIDE)
        ]
        scale = torch.stack(parts).sum() if parts else torch.zeros_like(gradient)
        factor = gradient * self._scale
        return (
            self._image_gradient_RE.mul_(factor),
            self._text_gradient_CE.mul_(factor),
            (gradient * scale).expand_as(self._scale),
        )
