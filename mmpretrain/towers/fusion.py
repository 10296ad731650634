"""Text that looks at a picture: fusion reads both ways, a decoder from left to right.

Both are stacks of the text transformer's blocks with cross-attention to image tokens. What they start from and which
weights they share with the text tower, or with each other, makes the layouts of ALBEF (on top of the text tower), CoCa
(the same, from left to right), BLIP (beside it, with shared weights) and FLAVA (image and text tokens in one row).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmpretrain.core.settings import settings
from mmpretrain.towers.memory import BlockMemory
from mmpretrain.towers.text import TextTower, initialise
from mmpretrain.towers.transformer import Block, View, look_back, look_both_ways, look_on, rotations


@settings
class Fusion:
    """Blocks in which text and picture meet; width, heads and MLP are the text tower's."""

    start: Literal["text", "embedding"] = "text"
    """text: on top of the text tower's output (ALBEF, CoCa); embedding: from the tokens' vectors on (BLIP)."""
    layers: Annotated[int, Field(gt=0)] | None = None
    """Blocks; None: as many as what they are shared with, or as the text tower has."""
    image: Literal["cross", "joined"] = "cross"
    """cross: text tokens look at image tokens in a layer of their own; joined: both stand in one row (FLAVA)."""
    shares: Literal["nothing", "text", "fusion"] = "nothing"
    """Whose self-attention, MLP and norms are used: own ones, the text tower's, or for a decoder the fusion's and with
    them its cross-attention."""
    own_attention: bool = False
    """Self-attention of its own, though the rest is shared (BLIP's decoder)."""

    def __post_init__(self) -> None:
        if self.shares != "nothing" and self.image == "joined":
            raise ValueError("image: joined shares no weights; use shares: nothing")
        if self.own_attention and self.shares == "nothing":
            raise ValueError("own_attention: says what is left out of sharing, and shares is nothing")


class CrossTransformer(nn.Module):
    """Text tokens and image tokens -> text tokens that know the picture.

    Args:
        text: the tower whose shape the blocks have, and whose weights they may share.
        image_width: channels of an image token.
        causal: nobody looks ahead in the text.
        other: what a decoder shares its weights with, where it does not share the text tower's.
    """

    blocks: nn.ModuleList

    def __init__(
        self, settings: Fusion, text: TextTower, image_width: int, causal: bool, other: "CrossTransformer | None" = None
    ) -> None:
        super().__init__()
        self.shape = text.shape
        self.start = settings.start
        self.causal = causal
        self.rotary = text.rotary
        self.checkpointing = text.checkpointing
        theirs = text if settings.shares == "text" else other if settings.shares == "fusion" else None
        shared: list[nn.Module] = list(theirs.blocks) if theirs is not None else []
        layers = settings.layers or len(shared or list(text.blocks))
        joined = settings.image == "joined"
        self.image_projection = nn.Linear(image_width, text.width) if joined else None
        self.blocks = nn.ModuleList(Block(self.shape, None if joined else image_width) for _ in range(layers))
        initialise(self.blocks, self.shape)
        for own, shared_one in zip(self.blocks if shared else [], shared[-layers:], strict=True):
            share(own, shared_one, settings.own_attention)
        self.final_norm = nn.LayerNorm(text.width, self.shape.eps) if self.shape.pre_norm else None

    def depth(self) -> list[list[str]]:
        """Names of the parameters of each block, the last norm with the last block."""
        names = [name for name, _ in self.named_parameters()]
        found = [[name for name in names if name.startswith(f"blocks.{place}.")] for place in range(len(self.blocks))]
        found[-1] += [name for name in names if name.startswith("final_norm.")]
        return found

    def forward(
        self,
        x_BLD: Tensor,
        mask_BL: Tensor,
        image_BND: Tensor,
        prefix: int = 0,
        positions_BL: Tensor | None = None,
        memory: Sequence[BlockMemory] = (),
        padding_BL: Tensor | None = None,
    ) -> Tensor:
        """x_BLD of the text.

        Args:
            prefix: tokens at the start of each text that may look at each other both ways.
            positions_BL: where the tokens stand in their text; None: at its start.
            memory: of the pictures and the tokens before these, by block, in a decoder.
            padding_BL: which of the text's places that are remembered hold no token; None: all do.
        """
        length, held = x_BLD.shape[1], memory[0].held if memory else 0
        view = self.view(mask_BL, prefix, positions_BL, held, padding_BL)
        if self.image_projection is not None and not held:  # pictures that were read are remembered
            images_BND = self.image_projection(image_BND)
            view = join_views(view, images_BND.shape[1], mask_BL, both_ways=not self.causal)
            x_BLD = torch.cat([images_BND, x_BLD], dim=1)
        for number, block in enumerate(self.blocks):
            if self.checkpointing and torch.is_grad_enabled():
                x_BLD = checkpoint(block, x_BLD, view, image_BND, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, view, image_BND, None, memory[number] if memory else None)
        x_BLD = x_BLD[:, -length:]
        return x_BLD if self.final_norm is None else self.final_norm(x_BLD)

    def view(
        self, mask_BL: Tensor, prefix: int, positions_BL: Tensor | None, held: int, padding_BL: Tensor | None
    ) -> View:
        """Who may look at whom; `held`: places in front that are remembered, some of them padding."""
        view = look_back(mask_BL, prefix) if self.causal else look_both_ways(mask_BL)
        if held:
            view = look_on(held, mask_BL.shape[1], mask_BL.device, padding_BL)
        if self.rotary:
            if positions_BL is None:
                positions_BL = torch.arange(mask_BL.shape[1], device=mask_BL.device)[None]
            view = view._replace(rotation_BLK=rotations(positions_BL, self.shape.head_channels))
        return view


def share(own: nn.Module, theirs: nn.Module, own_attention: bool) -> None:
    """Let a block use another one's modules: one set of weights under two names."""
    own.mlp, own.mlp_norm = theirs.mlp, theirs.mlp_norm
    if theirs.cross is not None:
        own.cross, own.cross_norm = theirs.cross, theirs.cross_norm
    if not own_attention:
        own.attention, own.attention_norm = theirs.attention, theirs.attention_norm


def join_views(view: View, images: int, mask_BL: Tensor, both_ways: bool) -> View:
    """For image tokens in front of the text: all see the picture, and the picture sees itself; text as before.

    Rotary positions leave the picture where it is.
    """
    batch, length = mask_BL.shape
    allowed = view.allowed_B1QL
    if allowed is None:
        allowed = torch.ones(length, length, dtype=torch.bool, device=mask_BL.device).tril()[None, None]
    text_BLL = allowed.expand(batch, 1, length, length)
    total = images + length
    joined_BTT = torch.zeros(batch, 1, total, total, dtype=torch.bool, device=mask_BL.device)
    joined_BTT[:, :, :, :images] = True
    joined_BTT[:, :, images:, images:] = text_BLL
    if both_ways:  # the picture sees the text too
        joined_BTT[:, :, :images, images:] = allowed
    rotation = view.rotation_BLK
    if rotation is not None:
        still = rotation.new_zeros(rotation.shape[0], images, rotation.shape[2])
        rotation = torch.cat([still, rotation], dim=1)
    return View(allowed_B1QL=joined_BTT, causal=False, rotation_BLK=rotation)


class AttentionPool(nn.Module):
    """A few learned queries that look at all image tokens (CoCa, Yu et al. 2022, arXiv 2205.01917)."""

    def __init__(self, queries: int, image_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.query_ND = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.context_norm = nn.LayerNorm(image_width)
        self.attention = nn.MultiheadAttention(width, heads, kdim=image_width, vdim=image_width, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_BND: Tensor) -> Tensor:
        """B x queries x width."""
        context_BND = self.context_norm(image_BND)
        queries_BND = self.query_ND.expand(image_BND.shape[0], -1, -1)
        return self.norm(self.attention(queries_BND, context_BND, context_BND, need_weights=False)[0])
