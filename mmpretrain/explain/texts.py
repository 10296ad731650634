"""What a text asks about a picture, as a whole and word by word: by similarity, by matching, or by writing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.explain.base import Target
from mmpretrain.explain.targets import direction, match, similarity, written
from mmpretrain.explain.words import Word, words_of
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.matching import MatchingLearner

By = Literal["similarity", "match", "caption"]
"""similarity: of picture and text in the space that they share; match: the log-odds that they belong together;
caption: the probability that a decoder writes the text."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A text as targets."""

    text: str
    by: By
    whole: Target
    words: list[Word]
    of_words: list[Target]
    """One each."""


def ways(module: TrainingModule) -> list[By]:
    """How a run can be asked about a text, the most telling way first."""
    model, found = module.model, []
    if model.image is not None and model.text_projection is not None:
        found.append("similarity")
    if model.fusion is not None and any(isinstance(each, MatchingLearner) for each in module.objectives):
        found.append("match")
    if model.decoder is not None:
        found.append("caption")
    return found  # type: ignore[return-value]


def ask(
    module: TrainingModule, tokenizer: Tokenizer, text: str, by: str = "", others_KE: Tensor | None = None
) -> Asked:
    """The targets of a text.

    Args:
        by: see `By`; empty: the first way that the run knows.
        others_KE: vectors of texts that it is told from, for similarity; see `direction`.

    Raises:
        ConfigError: the run cannot be asked in this way.
    """
    known = ways(module)
    if not known or (by and by not in known):
        raise ConfigError(
            f"--by: the run cannot be asked by {by or 'a text'}; " + (f"use {' or '.join(known)}" if known else _OTHER)
        )
    asks = {"similarity": _by_similarity, "match": _by_match, "caption": _by_caption}
    return asks[by or known[0]](module, tokenizer, text, others_KE)


_OTHER = "give --question or --label of a head"


def _by_similarity(module: TrainingModule, tokenizer: Tokenizer, text: str, others_KE: Tensor | None) -> Asked:
    """A word counts as much as the similarity falls when it is left out."""
    model, words = module.model, words_of(tokenizer, text)
    text_KE = vectors(model, tokenizer, [text, *(word.without for word in words)])
    return Asked(
        text=text,
        by="similarity",
        whole=similarity(model, direction(text_KE[0], others_KE), text),
        words=words,
        of_words=[
            similarity(model, text_KE[0] - without_E, word.text)
            for word, without_E in zip(words, text_KE[1:], strict=True)
        ],
    )


def _by_match(module: TrainingModule, tokenizer: Tokenizer, text: str, others_KE: Tensor | None) -> Asked:
    """Methods that look at attention show what each word looks at; for others a word is the whole text."""
    rows, words = tokenizer([text]), words_of(tokenizer, text)
    return Asked(
        text=text,
        by="match",
        whole=match(module, *rows, text),
        words=words,
        of_words=[match(module, *rows, word.text, word.places) for word in words],
    )


def _by_caption(module: TrainingModule, tokenizer: Tokenizer, text: str, others_KE: Tensor | None) -> Asked:
    """The probability of each word, given those before it."""
    rows, words = tokenizer([text]), words_of(tokenizer, text)
    every = list(range(1, int(rows[1].sum())))
    return Asked(
        text=text,
        by="caption",
        whole=written(module.model, *rows, every, text),
        words=words,
        of_words=[written(module.model, *rows, word.places, word.text) for word in words],
    )


@torch.no_grad()
def vectors(model: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """text_KE of texts, each read by itself."""
    device = next(model.parameters()).device
    rows = [model.embed_texts(*(each.to(device) for each in tokenizer([text]))) for text in texts]
    return torch.cat(rows)
