"""Operations of a training step, counted: ours reads the longest caption of a batch, open_clip's all places."""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import open_clip
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmpretrain.bench.pairs import captions

COUNTED = 2
"""Pairs that are counted; all else of a step grows with them, but for the loss, which is nothing beside the towers."""


class Costs(NamedTuple):
    """Floating point operations of a step's products, forward and backward."""

    ours: float
    theirs: float
    tokens: tuple[int, int]
    """Of each text, ours and theirs."""


def step_costs(peer: str, batch: int) -> Costs:
    """Of a model of open_clip on the captions that both are given."""
    model, tokenizer = open_clip.create_model(peer, pretrained=None), open_clip.get_tokenizer(peer)
    tokens_BL = tokenizer(list(islice(captions(), batch)))
    longest = int((tokens_BL != 0).sum(dim=1).max())
    image = image_flops(model)
    whole = text_flops(model, tokens_BL)
    model.context_length, model.attn_mask = longest, model.attn_mask[:longest, :longest]
    model.positional_embedding = torch.nn.Parameter(model.positional_embedding[:longest].detach())
    short = text_flops(model, tokens_BL[:, :longest])
    return Costs(batch * (image + short), batch * (image + whole), (longest, tokens_BL.shape[1]))


def image_flops(model: Any) -> float:
    """Of one picture."""
    return counted(lambda: model.encode_image(torch.zeros(COUNTED, 3, 224, 224)), model)


def text_flops(model: Any, tokens_BL: Tensor) -> float:
    """Of one text."""
    return counted(lambda: model.encode_text(tokens_BL[:COUNTED]), model)


def counted(forward: Callable[[], Tensor], model: Any) -> float:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward().sum().backward()
    model.zero_grad()
    return counter.get_total_flops() / COUNTED
