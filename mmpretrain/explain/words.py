"""Texts word by word: which tokens make a word, a text without one of its words, and what each word counts for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.explain.occlusion import captum_attr

STEPS = 32
"""Points of the path from an empty text to the whole one."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word of a text."""

    text: str
    places: tuple[int, ...]
    """Of its tokens in the row."""
    without: str
    """The text without it."""


def words_of(tokenizer: Tokenizer, text: str) -> list[Word]:
    """The words that a tower reads of a text, signs such as commas left out."""
    found = tokenizer.words(text)
    return [
        Word(text=word.text, places=word.places, without=" ".join((word.before + word.behind).split()))
        for word in found
        if any(letter.isalnum() for letter in word.text)
    ]


def by_word(words: Sequence[Word], values_L: Tensor) -> list[float]:
    """Sums over the tokens of each word."""
    return [float(values_L[list(word.places)].sum()) for word in words]


def token_shares(
    model: Any, tokenizer: Tokenizer, tokens_1L: Tensor, mask_1L: Tensor, against_E: Tensor
) -> tuple[Tensor, float]:
    """What each token adds to the cosine of a text with a picture, by integrated gradients (Sundararajan, Taly and Yan
    2017, arXiv 1703.01365) from a text whose tokens all say nothing; and how far they are from adding up.

    Args:
        against_E: of unit length; what the image tower says of the picture.
    """
    start, end = tokenizer.ends
    nothing = next((each for each in (tokenizer.mask_id, tokenizer.unknown_id) if each is not None), 0)
    kept_1L = (tokens_1L == start) | (tokens_1L == end) | ~mask_1L
    empty_1L = torch.where(kept_1L, tokens_1L, nothing)

    def score(tokens_BL: Tensor) -> Tensor:
        vectors_BE: Tensor = model.embed_texts(tokens_BL, mask_1L.expand(len(tokens_BL), -1))
        return vectors_BE @ against_E

    integrated = captum_attr().LayerIntegratedGradients(score, model.text.embedding)
    with torch.enable_grad():
        parts_1LD, gap_1 = integrated.attribute(
            tokens_1L, baselines=empty_1L, n_steps=STEPS, internal_batch_size=STEPS, return_convergence_delta=True
        )
    return parts_1LD[0].sum(dim=-1).detach(), float(gap_1)
