"""Attention weights of any tower with their graph, whichever library computes them.

torch's fused attention gives no weights away. While `watching` is open, every attention of this thread is computed by
its formula instead, and its weights are kept: those of `F.scaled_dot_product_attention`, which timm's, open_clip's and
this package's blocks call, and those of `nn.MultiheadAttention`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmpretrain.explain.base import Target, at_rest, tower_of, with_graph

Where = Literal["image", "pool", "text", "cross", "elsewhere"]
"""image: inside the image tower; pool: the queries between it and the readers; text, cross: inside the reader."""


class Attention(NamedTuple):
    """The weights of one attention."""

    where: Where
    weights_BHQK: Tensor


class Watch:
    """What was seen so far, in the order in which it was computed."""

    def __init__(self) -> None:
        self.where: Where = "elsewhere"
        self.seen: list[Attention] = []

    def attend(
        self,
        query_BHQK: Tensor,
        key_BHNK: Tensor,
        value_BHNK: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **more: Any,
    ) -> Tensor:
        """`F.scaled_dot_product_attention` by its formula; nothing is dropped."""
        scale = 1 / math.sqrt(query_BHQK.shape[-1]) if scale is None else scale
        scores = query_BHQK @ key_BHNK.transpose(-2, -1) * scale
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            banned = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if banned else scores + attn_mask
        weights = scores.softmax(dim=-1)
        self.seen.append(Attention(self.where, weights))
        return weights @ value_BHNK

    def attend_heads(self, given: Mapping[str, Any]) -> tuple[Tensor, None]:
        """`F.multi_head_attention_forward` for what vision models ask of it: L x B x D in and out."""
        query, key, value = given["query"], given["key"], given["value"]
        if given["use_separate_proj_weight"]:
            weights = [given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"]]
        else:
            weights = given["in_proj_weight"].chunk(3)
        biases = [None] * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
        query_BHQK, key_BHNK, value_BHNK = (
            F.linear(each, weight, bias).unflatten(-1, (given["num_heads"], -1)).permute(1, 2, 0, 3)
            for each, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        y_BHLK = self.attend(query_BHQK, key_BHNK, value_BHNK, given["attn_mask"])
        y_LBD = y_BHLK.permute(2, 0, 1, 3).flatten(2)
        return F.linear(y_LBD, given["out_proj_weight"], given["out_proj_bias"]), None


class Formula(TorchFunctionMode):
    """Sends attention to a watch, and leaves all else as it is; in this thread alone."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, called: Callable, types: Sequence[type], given: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        if called is F.scaled_dot_product_attention:
            return self._watch.attend(*given, **named)
        if called is F.multi_head_attention_forward:
            return self._watch.attend_heads(_by_name(given, named))
        return called(*given, **named)


def _by_name(given: Sequence[Any], named: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `F.multi_head_attention_forward`, with the defaults of those that were left out."""
    names = ["query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias"]
    names += ["bias_k", "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias"]
    return {"use_separate_proj_weight": False, "attn_mask": None, **dict(zip(names, given, strict=False)), **named}


@contextmanager
def watching(model: Any, target: Target) -> Iterator[Watch]:
    """Watch the attention of a model."""
    watch = Watch()

    def enter(where: Where, *given: object) -> None:
        watch.where = where

    def leave(*given: object) -> None:
        watch.where = "elsewhere"

    hooks = []
    for where, module in _regions(model, target):
        hooks.append(module.register_forward_pre_hook(partial(enter, where)))
        hooks.append(module.register_forward_hook(leave))
    try:
        with Formula(watch):
            yield watch
    finally:
        for hook in hooks:
            hook.remove()


def _regions(model: Any, target: Target) -> list[tuple[Where, nn.Module]]:
    """Modules, none inside another, and where attention inside them belongs."""
    found: list[tuple[Where, nn.Module]] = [("image", tower_of(model))]
    if target.reader is not None:
        found += [("pool", model.image_pool)] if model.image_pool is not None else []
        for block in target.reader.blocks:
            found.append(("text", block.attention))  # type: ignore[arg-type]
            found += [("cross", block.cross)] if block.cross is not None else []  # type: ignore[list-item]
    return found


def attentions(model: Any, target: Target, image_CHW: Tensor) -> tuple[list[Attention], Tensor]:
    """All attention on the way from a picture to its score, and the score; both with their graph."""
    with watching(model, target) as watch:
        score = target.score(with_graph(image_CHW)).sum()
    return watch.seen, score


def mean_over_heads(model: Any, target: Target, image_CHW: Tensor) -> list[Attention]:
    """What each token looks at, whatever the target: Q x K."""
    with at_rest(model):
        seen, _ = attentions(model, target, image_CHW)
    return [Attention(where, weights[0].mean(dim=0).detach().float()) for where, weights in seen]


def weighed_by_gradient(model: Any, target: Target, image_CHW: Tensor) -> list[Attention]:
    """The mean over heads of what of an attention speaks for the target: Q x K."""
    with at_rest(model):
        seen, score = attentions(model, target, image_CHW)
        if not seen:
            return []
        every = [weights for _, weights in seen]
        gradients = torch.autograd.grad(score, every, allow_unused=True, materialize_grads=True)
    return [
        Attention(where, (gradient * weights).clamp(min=0)[0].mean(dim=0).detach().float())
        for (where, weights), gradient in zip(seen, gradients, strict=True)
    ]
