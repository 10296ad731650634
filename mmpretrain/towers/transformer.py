"""Transformer blocks: self-attention, cross-attention where there is a context, and an MLP.

One block serves text encoders, decoders and fusion: which tokens may look at which is an argument of the pass and not
of the weights, so that the same weights can read both ways or from left to right.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.towers import kernels
from mmpretrain.towers.memory import BlockMemory

Mlp = Literal["gelu", "quick_gelu", "swiglu"]
ROTARY_BASE = 10_000.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all blocks of a stack have in common."""

    width: int
    heads: int
    head_width: int | None = None
    """Channels of a head; None: width / heads."""
    mlp: Mlp = "gelu"
    mlp_width: int
    pre_norm: bool = True
    """Norms in front of each part, with a plain path around it (GPT-2, CLIP); else behind each sum (BERT)."""
    eps: float = 1e-5
    dropout: float = 0.0

    @property
    def head_channels(self) -> int:
        """Channels of a head."""
        return self.head_width or self.width // self.heads

    @property
    def attended(self) -> int:
        """Channels of all heads together."""
        return self.heads * self.head_channels


class View(NamedTuple):
    """Which tokens a token may look at, and where in the text it stands."""

    allowed_B1QL: Tensor | None
    """bool, broadcastable over heads; None: all of them, or those that `causal` leaves."""
    causal: bool
    """Nobody looks ahead; used where `allowed_B1QL` is None."""
    rotation_BLK: Tensor | None = None
    """Angles of rotary positions; None: positions were added to the tokens."""


class Heads(NamedTuple):
    """What self-attention compares and mixes, turned by rotary positions where there are some."""

    query_BHLK: Tensor
    key_BHLK: Tensor
    value_BHLK: Tensor


class SelfAttention(nn.Module):
    """Tokens look at tokens of the same text."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query_key_value = nn.Linear(shape.width, 3 * shape.attended)
        self.output = nn.Linear(shape.attended, shape.width)

    def split(self, x_BLD: Tensor, view: View) -> Heads:
        """Queries, keys and values of tokens."""
        batch, length, _ = x_BLD.shape
        heads = self.query_key_value(x_BLD).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query_BHLK, key_BHLK, value_BHLK = heads[0], heads[1], heads[2]
        if view.rotation_BLK is not None:
            query_BHLK, key_BHLK = (rotate(each, view.rotation_BLK) for each in (query_BHLK, key_BHLK))
        return Heads(query_BHLK, key_BHLK, value_BHLK)

    def forward(
        self, x_BLD: Tensor, view: View, heads: Heads | None = None, memory: BlockMemory | None = None
    ) -> Tensor:
        """Args: heads: what `split` gives, where it was asked already; memory: of the tokens before these."""
        batch, length, _ = x_BLD.shape
        heads = self.split(x_BLD, view) if heads is None else heads
        if memory is not None:
            heads = Heads(heads.query_BHLK, *memory.extend(heads.key_BHLK, heads.value_BHLK))
        with kernels.attention_kernel(x_BLD):
            y_BHLK = F.scaled_dot_product_attention(
                *heads, attn_mask=view.allowed_B1QL, is_causal=view.causal and view.allowed_B1QL is None
            )
        return self.output(y_BHLK.transpose(1, 2).reshape(batch, length, -1))


class CrossAttention(nn.Module):
    """Tokens of a text look at tokens of a picture."""

    def __init__(self, shape: Shape, context_width: int) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.attended)
        self.key_value = nn.Linear(context_width, 2 * shape.attended)
        self.output = nn.Linear(shape.attended, shape.width)

    def forward(self, x_BLD: Tensor, context_BND: Tensor, memory: BlockMemory | None = None) -> Tensor:
        """Args: memory: knows the keys and values of the pictures after the first time."""
        if memory is None:
            key_BHNK, value_BHNK = self.split(context_BND)
        else:
            if memory.picture is None:
                key_BHNK, value_BHNK = self.split(context_BND)
                # asked again for every word, and read in half the time where each head's stand side by side
                memory.picture = (key_BHNK.contiguous(), value_BHNK.contiguous())
            key_BHNK, value_BHNK = memory.picture
        # texts about one picture ask it side by side, as if they were one text
        query_BHLK = self.query(x_BLD).view(key_BHNK.shape[0], -1, self.heads, key_BHNK.shape[3]).transpose(1, 2)
        with kernels.attention_kernel(x_BLD):
            y_BHLK = F.scaled_dot_product_attention(query_BHLK, key_BHNK, value_BHNK)
        return self.output(y_BHLK.transpose(1, 2).reshape(*x_BLD.shape[:2], -1))

    def split(self, context_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a picture's tokens."""
        batch, length, _ = context_BND.shape
        heads = self.key_value(context_BND).view(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return heads[0], heads[1]


class FeedForward(nn.Module):
    """Two layers with GELU or an approximation of it, or three with a gate (SwiGLU, Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input = nn.Linear(shape.width, shape.mlp_width)
        self.gate = nn.Linear(shape.width, shape.mlp_width) if shape.mlp == "swiglu" else None
        self._activation = quick_gelu if shape.mlp == "quick_gelu" else F.gelu
        self.output = nn.Linear(shape.mlp_width, shape.width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        inner = self.input(x_BLD)
        inner = self._activation(inner) if self.gate is None else F.silu(self.gate(x_BLD)) * inner
        return self.output(inner)


def quick_gelu(x: Tensor) -> Tensor:
    """X * sigmoid(1.702 x), which OpenAI's CLIP learned with in GELU's place."""
    return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Self-attention, cross-attention where there is a context, MLP; each with its norm and a path around it.

    Args:
        context_width: channels of the tokens to look at; None: no cross-attention.
    """

    def __init__(self, shape: Shape, context_width: int | None = None) -> None:
        super().__init__()
        self.pre_norm = shape.pre_norm
        self.attention_norm = nn.LayerNorm(shape.width, shape.eps)
        self.attention = SelfAttention(shape)
        self.cross_norm = nn.LayerNorm(shape.width, shape.eps) if context_width else None
        self.cross = CrossAttention(shape, context_width) if context_width else None
        self.mlp_norm = nn.LayerNorm(shape.width, shape.eps)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def split(self, x_BLD: Tensor, view: View) -> Heads:
        """Queries, keys and values of the tokens that come in."""
        return self.attention.split(self.attention_norm(x_BLD) if self.pre_norm else x_BLD, view)

    def forward(
        self,
        x_BLD: Tensor,
        view: View,
        context_BND: Tensor | None = None,
        heads: Heads | None = None,
        memory: BlockMemory | None = None,
    ) -> Tensor:
        """Args: heads: what `split` gives, where it was asked already; memory: of the tokens before these."""
        x_BLD = self._around(x_BLD, self.attention_norm, self.attention, view, heads, memory)
        if self.cross is not None:
            x_BLD = self._around(x_BLD, self.cross_norm, self.cross, context_BND, memory)
        return self._around(x_BLD, self.mlp_norm, self.mlp)

    def _around(self, x_BLD: Tensor, norm: nn.Module | None, part: nn.Module, *more: object) -> Tensor:
        assert norm is not None
        if self.pre_norm:
            return x_BLD + self.dropout(part(norm(x_BLD), *more))
        return norm(x_BLD + self.dropout(part(x_BLD, *more)))


def look_both_ways(mask_BL: Tensor) -> View:
    """Every token may look at every token that is no padding."""
    allowed_B1QL = mask_BL[:, None, None, :]
    if torch.compiler.is_exporting():  # onnxruntime's attention wants a row a query
        allowed_B1QL = allowed_B1QL.expand(-1, -1, mask_BL.shape[1], -1)
    return View(allowed_B1QL=allowed_B1QL, causal=False)


def look_back(mask_BL: Tensor, prefix: int = 0) -> View:
    """Every token may look at itself and what stands before it; the first `prefix` tokens at each other.

    Padding stands behind the text, so nobody looks at it.
    """
    if not prefix:
        return View(allowed_B1QL=None, causal=True)
    length = mask_BL.shape[1]
    allowed_QL = torch.ones(length, length, dtype=torch.bool, device=mask_BL.device).tril()
    allowed_QL[:prefix, :prefix] = True
    return View(allowed_B1QL=allowed_QL[None, None], causal=False)


def look_on(held: int, length: int, device: torch.device, padding_BL: Tensor | None = None) -> View:
    """New tokens behind `held` ones that are remembered: each may look at those, at itself and what stands between.

    Args:
        padding_BL: bool, which of the last places that are remembered hold no token: nobody looks there; None: all do.
    """
    if length == 1 and padding_BL is None:
        return View(allowed_B1QL=None, causal=False)
    allowed_B1QL = torch.ones(length, held + length, dtype=torch.bool, device=device).tril(held)[None, None]
    if padding_BL is not None:
        in_front = held - padding_BL.shape[1]
        allowed_B1QL = allowed_B1QL & ~F.pad(padding_BL, (in_front, length))[:, None, None]
    return View(allowed_B1QL=allowed_B1QL, causal=False)


def rotations(positions_BL: Tensor, channels: int) -> Tensor:
    """Angles of rotary positions (Su et al. 2021, arXiv 2104.09864) for heads of `channels`; fp32, B x L x K/2."""
    steps_K = torch.arange(0, channels, 2, device=positions_BL.device, dtype=torch.float32)
    return positions_BL[..., None].float() * ROTARY_BASE ** (-steps_K / channels)


def rotate(heads_BHLK: Tensor, rotation_BLK: Tensor) -> Tensor:
    """Turn each pair of channels (k, k + K/2) by its angle."""
    first, second = heads_BHLK.float().chunk(2, dim=-1)
    cosine, sine = rotation_BLK.cos()[:, None], rotation_BLK.sin()[:, None]
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.to(heads_BHLK.dtype)
