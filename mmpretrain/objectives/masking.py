"""Which words are hidden: drawn by (seed, position, place in the text), the same on every rank and in every pass."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.counter import hash_tensor, name_to_int, uniform
from mmpretrain.objectives.passages import Texts

SHOWN, SWAPPED = 0.1, 0.1
"""Of the words to predict: share that stays as it is, and share that another word takes the place of (BERT)."""
_CHOICE, _FATE, _WORD = (name_to_int(name) for name in ("masked word", "fate of a masked word", "swapped word"))


class Filled(NamedTuple):
    """Texts with words hidden, and what was put there; each B x L."""

    tokens_BL: Tensor
    """int64, the texts as they were."""
    inner_BL: Tensor
    """bool, tokens that could be hidden."""
    hidden_BL: Tensor
    """bool, those that were."""
    guess_BL: Tensor
    """int64, the likeliest word at each place."""


class Masked(NamedTuple):
    """A batch of texts in which some words are to be predicted."""

    texts: Texts
    """With other words where words were swapped."""
    predicted_BL: Tensor
    """bool, the words to predict."""
    hidden_BL: Tensor
    """bool, those of them that are hidden behind a mask."""


def choose_words(texts: Texts, positions_B: Tensor, share: float, seed: int) -> Tensor:
    """Each inner token by itself with probability `share`; bool."""
    return texts.inner_BL & (_draw(_CHOICE, seed, positions_B, texts) < share)


def mask_words(texts: Texts, predicted_BL: Tensor, positions_B: Tensor, seed: int, vocabulary: int) -> Masked:
    """Hide most of the words to predict, swap some, leave some (Devlin et al. 2019, arXiv 1810.04805)."""
    fate_BL = _draw(_FATE, seed, positions_B, texts)
    swapped_BL = predicted_BL & (fate_BL < SWAPPED)
    hidden_BL = predicted_BL & (fate_BL >= SWAPPED + SHOWN)
    others_BL = (_draw(_WORD, seed, positions_B, texts) * vocabulary).long()
    swapped = texts._replace(tokens_BL=torch.where(swapped_BL, others_BL, texts.tokens_BL))
    return Masked(swapped, predicted_BL, hidden_BL)


def _draw(purpose: int, seed: int, positions_B: Tensor, texts: Texts) -> Tensor:
    places_BL = texts.positions_BL
    if places_BL is None:
        places_BL = torch.arange(texts.tokens_BL.shape[1], device=positions_B.device)[None]
    # places without padding: where the second passage stands in memory depends on the other rows
    return uniform(hash_tensor(purpose, seed, positions_B[:, None], places_BL))
