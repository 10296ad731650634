"""Which words are hidden: drawn by (seed, position, place in the text), the same on every rank and in every pass."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.counter import hash_tensor, name_to_int, uniform

SHOWN, SWAPPED = 0.1, 0.1
"""Of the words to predict: share that stays as it is, and share that another word takes the place of (BERT)."""
_CHOICE, _FATE, _WORD = (name_to_int(name) for name in ("masked word", "fate of a masked word", "swapped word"))


class Masked(NamedTuple):
    """A batch of texts in which some words are to be predicted."""

    tokens_BL: Tensor
    """int64, with other words where words were swapped."""
    predicted_BL: Tensor
    """bool, the words to predict."""
    hidden_BL: Tensor
    """bool, those of them that are hidden behind a mask."""


def inner_words(mask_BL: Tensor) -> Tensor:
    """Tokens between a text's first and last one, which every tokenizer here puts around it; bool."""
    places_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
    return mask_BL & (places_L > 0) & (places_L < mask_BL.sum(dim=1, keepdim=True) - 1)


def choose_words(eligible_BL: Tensor, positions_B: Tensor, share: float, seed: int) -> Tensor:
    """Each eligible token by itself with probability `share`; bool."""
    return eligible_BL & (_draw(_CHOICE, seed, positions_B, eligible_BL.shape[1]) < share)


def mask_words(tokens_BL: Tensor, predicted_BL: Tensor, positions_B: Tensor, seed: int, vocabulary: int) -> Masked:
    """Hide most of the words to predict, swap some, leave some (Devlin et al. 2019, arXiv 1810.04805)."""
    fate_BL = _draw(_FATE, seed, positions_B, tokens_BL.shape[1])
    swapped_BL = predicted_BL & (fate_BL < SWAPPED)
    hidden_BL = predicted_BL & (fate_BL >= SWAPPED + SHOWN)
    others_BL = (_draw(_WORD, seed, positions_B, tokens_BL.shape[1]) * vocabulary).long()
    return Masked(torch.where(swapped_BL, others_BL, tokens_BL), predicted_BL, hidden_BL)


def _draw(purpose: int, seed: int, positions_B: Tensor, length: int) -> Tensor:
    places_L = torch.arange(length, device=positions_B.device)
    return uniform(hash_tensor(purpose, seed, positions_B[:, None], places_L))
