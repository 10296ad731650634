"""The maps of an image tower at several scales, for whatever looks at places and not at the picture as a whole."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DEPTHS = 4
"""Blocks that a tower of one scale hands out: those after each quarter of its depth (UNETR, arXiv 2103.10504)."""


class Scale(NamedTuple):
    """One map: B x channels x side x side."""

    channels: int
    side: int


def chosen_maps(sides: Sequence[int], grid: int) -> list[int]:
    """Which stages or blocks to look at besides the tower's last tokens, from the input on.

    Of a pyramid the last of each finer scale; of a tower with one scale, as a transformer is, blocks of several depths.

    Args:
        sides: of the map after each stage or block.
        grid: side of the map of the last tokens.
    """
    finer = {side: place for place, side in enumerate(sides) if side > grid}
    if finer:
        return sorted(finer.values())
    same = [place for place, side in enumerate(sides) if side == grid]
    quarters = {round(len(same) * part / DEPTHS) - 1 for part in range(1, DEPTHS)}
    return [place for number, place in enumerate(same[:-1]) if number in quarters]


def as_map(tokens_BND: Tensor, prefix: int, side: int) -> Tensor:
    """The patches of tokens as B x D x side x side."""
    return tokens_BND[:, prefix:].transpose(1, 2).unflatten(2, (side, side))


def scales_of(maps: Sequence[Tensor]) -> tuple[Scale, ...]:
    """Args: maps: B x C x H x W; those that are not square have no side."""
    return tuple(Scale(each.shape[1], each.shape[2] if each.shape[2] == each.shape[3] else 0) for each in maps)


def picture_of(size: int) -> Tensor:
    """A black one, to look at what a tower gives."""
    return torch.zeros(1, 3, size, size, dtype=torch.uint8)
