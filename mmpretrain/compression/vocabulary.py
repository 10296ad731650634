"""Words that the training data never use leave the matrix of words, and the tokenizer with it."""

from dataclasses import replace
from typing import Literal

import torch

from mmpretrain.compression.work import Changed, Step, Work
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.tokenizer import only_seen
from mmpretrain.objectives.words import WordHead
from mmpretrain.towers.text import TokenTable


@settings
class Vocabulary(Step):
    """Keep the pieces that training texts are made of, and those that any other text falls into."""

    kind: Literal["vocabulary"] = "vocabulary"

    def apply(self, work: Work) -> Changed:
        return without_unused(work)


def without_unused(work: Work) -> Changed:
    """The model with fewer words; what it says of texts made of the words that stay is the same.

    Raises:
        ConfigError: all words are used, or the run reads no texts.
    """
    if work.module.model.text is None:
        raise ConfigError("steps: vocabulary: the run reads no texts; leave the step out")
    tokenizer, kept = only_seen(work.tokenizer, work.captions())
    before = work.tokenizer.vocabulary
    if len(kept) == before:
        raise ConfigError(f"steps: vocabulary: the training texts use all {before:,} words; leave the step out")
    rows, tensors = torch.tensor(kept), work.tensors
    for name, module in work.module.named_modules(remove_duplicate=False):
        own = {TokenTable: "weight", WordHead: "bias_V"}.get(type(module))
        if own is not None:
            tensors[f"{name}.{own}"] = tensors[f"{name}.{own}"][rows]
    return Changed(
        towers=replace(work.towers, cache=None),
        tensors=tensors,
        tokenizer=tokenizer,
        words="seen",
        told=f"{len(kept):,} of {before:,} words",
        facts={"words": [before, len(kept)]},
    )
