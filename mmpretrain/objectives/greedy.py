"""Greedy writing: the likeliest next word, again and again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch

Words = Callable[[Tensor], Tensor]
"""The likeliest word behind each of B vectors."""


def write(model: Any, batch: Batch, length: int, words: Words) -> Tensor:
    """A text for each picture: B x `length` token ids, from the start token on.

    Always as many passes as there are places, whatever is written: under ZeRO-3 all ranks walk the same way. What
    stands behind a text's end token is the caller's to cut.
    """
    image_BND = model.pool(model.image(batch.images_BCHW)[0])
    return _continue(batch.tokens_BL[:, :1], length, lambda tokens, mask: model.decode(tokens, mask, image_BND), words)


def continue_text(model: Any, batch: Batch, given: int, length: int, words: Words) -> Tensor:
    """The first `given` tokens of each text and what a causal text tower writes behind them; B x `length`."""
    return _continue(batch.tokens_BL[:, :given], length, lambda tokens, mask: model.text(tokens, mask)[0], words)


def _continue(tokens_BL: Tensor, length: int, read: Callable[[Tensor, Tensor], Tensor], words: Words) -> Tensor:
    while tokens_BL.shape[1] < length:
        x_BLD = read(tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool))
        tokens_BL = torch.cat([tokens_BL, words(x_BLD[:, -1])[:, None]], dim=1)
    return tokens_BL
