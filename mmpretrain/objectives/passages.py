"""What a text tower reads: a passage a row, or two, of which the second follows the first or is a wrong one."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.counter import hash_tensor, name_to_int, uniform
from mmpretrain.towers.text import Replacement

_COIN, _NOISE = name_to_int("next or not"), name_to_int("wrong passage")


class Texts(NamedTuple):
    """Rows of one or two passages, as the text tower takes them."""

    tokens_BL: Tensor
    mask_BL: Tensor
    inner_BL: Tensor
    """bool, tokens that are neither the start nor the end of a passage."""
    positions_BL: Tensor | None = None
    """Places counted over both passages, padding between them left out; None: as they stand."""
    segments_BL: Tensor | None = None
    """0 in the first passage, 1 in the second; None: there is no second."""


class Pairing(Protocol):
    """How continuations are drawn: settings of next_sentence."""

    @property
    def negatives_within(self) -> int: ...
    @property
    def from_document(self) -> bool: ...


def inner_words(mask_BL: Tensor) -> Tensor:
    """Tokens between a text's first and last one, which every tokenizer here puts around it; bool."""
    places_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
    return mask_BL & (places_L > 0) & (places_L < mask_BL.sum(dim=1, keepdim=True) - 1)


def single_passages(batch: Batch) -> Texts:
    """The batch's own texts."""
    return Texts(batch.tokens_BL, batch.mask_BL, inner_words(batch.mask_BL))


def continuation(batch: Batch, used_B: Tensor, pairing: Pairing, seed: int) -> Tensor:
    """The row whose continuation each row gets: its own, or a wrong one; int64.

    A pure function, so that all objectives that look at pairs look at the same ones.
    """
    own_B = torch.arange(len(batch), device=used_B.device)
    same_BB = batch.text_group_B[:, None] == batch.text_group_B
    group_B = batch.positions_B // pairing.negatives_within
    allowed_BB = (group_B[:, None] == group_B) & (own_B[:, None] != own_B) & used_B[:, None] & used_B
    allowed_BB &= same_BB if pairing.from_document else ~same_BB
    noise_BB = uniform(hash_tensor(_NOISE, seed, batch.positions_B[:, None], batch.positions_B))
    wrong_B = noise_BB.masked_fill(~allowed_BB, -1).argmax(dim=1)
    coin_B = uniform(hash_tensor(_COIN, seed, batch.positions_B)) < 0.5
    return torch.where(coin_B & allowed_BB.any(dim=1), wrong_B, own_B)


def join_passages(batch: Batch, row_B: Tensor) -> Texts:
    """Each row's text, and behind it the continuation of the row that is named; one start token for both."""
    assert batch.next_tokens_BL is not None
    assert batch.next_mask_BL is not None
    next_mask_BL = batch.next_mask_BL[row_B]
    mask_BL = torch.cat([batch.mask_BL, next_mask_BL[:, 1:]], dim=1)
    second_L = torch.arange(mask_BL.shape[1], device=mask_BL.device) >= batch.mask_BL.shape[1]
    return Texts(
        tokens_BL=torch.cat([batch.tokens_BL, batch.next_tokens_BL[row_B, 1:]], dim=1),
        mask_BL=mask_BL,
        inner_BL=torch.cat([inner_words(batch.mask_BL), inner_words(next_mask_BL)[:, 1:]], dim=1),
        positions_BL=(mask_BL.cumsum(dim=1) - 1).clamp(min=0),
        segments_BL=second_L.long().expand_as(mask_BL),
    )


def read_texts(model: Any, texts: Texts, replacement: Replacement | None = None) -> Tensor:
    """x_BLD, every token knowing its whole row, whichever way the tower reads by itself."""
    x_BLD: Tensor = model.text(
        texts.tokens_BL, texts.mask_BL, texts.positions_BL, texts.segments_BL, replacement=replacement, causal=False
    )[0]
    return x_BLD
