"""What a decoder remembers of a text that it has read so far: keys and values, so that nothing is read twice."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


class BlockMemory:
    """Keys and values of one block: of the tokens read so far, R rows, and of the pictures, P of them.

    Rows stand picture by picture, as many for each: a picture's keys and values are kept once, however many texts are
    written about it.
    """

    def __init__(self) -> None:
        self.own: tuple[Tensor, Tensor] | None = None
        """Of self-attention, each R x heads x tokens x channels."""
        self.picture: tuple[Tensor, Tensor] | None = None
        """Of cross-attention, each P x heads x image tokens x channels; computed at the first reading."""

    @property
    def held(self) -> int:
        """Tokens whose keys are kept; image tokens in the same row are some of them."""
        return 0 if self.own is None else self.own[0].shape[2]

    def extend(self, key_RHLK: Tensor, value_RHLK: Tensor) -> tuple[Tensor, Tensor]:
        """Keep new tokens, and get all keys and values, oldest first."""
        if self.own is not None:
            pairs = zip(self.own, (key_RHLK, value_RHLK), strict=True)
            key_RHLK, value_RHLK = (torch.cat(pair, dim=2) for pair in pairs)
        self.own = (key_RHLK, value_RHLK)
        return self.own

    def select(self, rows_R: Tensor, pictures_P: Tensor | None) -> None:
        """Go on with these rows and pictures; see `Memory.select`."""
        if self.own is not None:
            self.own = (self.own[0][rows_R], self.own[1][rows_R])
        if self.picture is not None and pictures_P is not None:
            self.picture = (self.picture[0][pictures_P], self.picture[1][pictures_P])


@dataclass(kw_only=True)
class Memory:
    """What text tower and decoder remember; empty before the first token."""

    text: list[BlockMemory] = field(default_factory=list)
    """By block of the text tower, where the decoder starts from its output."""
    decoder: list[BlockMemory]
    """By block of the decoder."""
    read: int = 0
    """Tokens of each text that were read."""

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        """Go on with these rows of those at hand: beams change places or multiply, texts that have ended leave.

        Args:
            pictures_P: the pictures that the rows belong to, where some leave; None: all stay.
        """
        for block in (*self.text, *self.decoder):
            block.select(rows_R, pictures_P)
