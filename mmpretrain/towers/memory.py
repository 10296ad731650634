"""What a decoder remembers of a text that it has read so far: keys and values, so that nothing is read twice."""

from dataclasses import dataclass, field, replace

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

    def copy(self) -> "BlockMemory":
        """What is remembered, once more: tensors are replaced and never written to."""
        twin = BlockMemory()
        twin.own, twin.picture = self.own, self.picture
        return twin

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
    """Places of each text that were read."""
    padding_RL: Tensor | None = None
    """bool, which of them hold no token; None: all do."""

    def places(self, length: int, device: torch.device) -> Tensor:
        """Where the next tokens of each text stand in it; int64, R x length or 1 x length."""
        places_1L = torch.arange(self.read, self.read + length, device=device)[None]
        return places_1L if self.padding_RL is None else places_1L - self.padding_RL.sum(dim=1, keepdim=True)

    def count(self, mask_RL: Tensor, padded: bool) -> None:
        """Keep in mind that these places were read."""
        if self.padding_RL is None and padded:
            self.padding_RL = mask_RL.new_zeros(len(mask_RL), self.read)
        if self.padding_RL is not None:
            self.padding_RL = torch.cat([self.padding_RL, ~mask_RL], dim=1)
        self.read += mask_RL.shape[1]

    def fork(self, rows_R: Tensor) -> "Memory":
        """A memory of these rows that goes its own way; this one stays as it is.

        Args:
            rows_R: as many neighbours for each picture.
        """
        copy = replace(
            self, text=[block.copy() for block in self.text], decoder=[block.copy() for block in self.decoder]
        )
        copy.select(rows_R)
        return copy

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        """Go on with these rows of those at hand: beams change places or multiply, texts that have ended leave.

        Args:
            pictures_P: the pictures that the rows belong to, where some leave; None: all stay.
        """
        for block in (*self.text, *self.decoder):
            block.select(rows_R, pictures_P)
        if self.padding_RL is not None:
            self.padding_RL = self.padding_RL[rows_R]
