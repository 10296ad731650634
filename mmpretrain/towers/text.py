"""The text transformer: CLIP's causal blocks, weight for weight those of open_clip's TextTransformer."""

from contextlib import nullcontext
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmpretrain.core.settings import settings


@settings
class CausalText:
    """A causal transformer whose end token stands for the text, as in CLIP."""

    kind: Literal["causal"] = "causal"
    width: Annotated[int, Field(gt=0)] = 512
    """Channels of a token."""
    layers: Annotated[int, Field(gt=0)] = 12
    """Blocks."""
    heads: Annotated[int, Field(gt=0)] = 8
    """Attention heads; width divides by them."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads")

    def build(self, vocabulary: int, context_length: int) -> "TextTower":
        return TextTower(vocabulary, context_length, self.width, self.layers, self.heads)


class Block(nn.Module):
    """Pre-norm attention and a GELU MLP of four times the width (Radford et al. 2021)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_input = nn.Linear(width, 4 * width)
        self.mlp_output = nn.Linear(4 * width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.attend(self.attention_norm(x_BLD))
        return x_BLD + self.mlp_output(F.gelu(self.mlp_input(self.mlp_norm(x_BLD))))

    def attend(self, x_BLD: Tensor) -> Tensor:
        batch, length, width = x_BLD.shape
        heads = self.query_key_value(x_BLD).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # the fused kernel's backward on the processor takes two to six times as long as the plain formula's
        with nullcontext() if x_BLD.is_cuda else sdpa_kernel(SDPBackend.MATH):
            y_BHLK = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        return self.attention_output(y_BHLK.transpose(1, 2).reshape(batch, length, width))


class TextTower(nn.Module):
    """tokens -> tokens_BLD and pooled_BD, the last token of each text.

    Padding stands behind the end token, and causal attention never looks ahead, so it changes nothing.
    """

    def __init__(self, vocabulary: int, context_length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.context_length = context_length
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding_LD = nn.Parameter(torch.empty(context_length, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.final_norm = nn.LayerNorm(width)
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        """CLIP's: narrower where paths add up, by depth and width."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding_LD, std=0.01)
        attention, path = self.width**-0.5, self.width**-0.5 * (2 * layers) ** -0.5
        for block in self.blocks:
            for name, std in (
                ("query_key_value", attention),
                ("attention_output", path),
                ("mlp_input", (2 * self.width) ** -0.5),
                ("mlp_output", path),
            ):
                nn.init.normal_(getattr(block, name).weight, std=std)
                nn.init.zeros_(getattr(block, name).bias)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        x_BLD = self.token_embedding(tokens_BL) + self.position_embedding_LD[: tokens_BL.shape[1]]
        for block in self.blocks:
            x_BLD = block(x_BLD)
        x_BLD = self.final_norm(x_BLD)
        last_B = mask_BL.sum(dim=1) - 1
        return x_BLD, x_BLD[torch.arange(len(x_BLD), device=x_BLD.device), last_B]
