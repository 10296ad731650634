"""What a head looks at: one vector of each row."""

from collections.abc import Set
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded

Reads = Literal["image", "text", "product", "fusion", "features"]
"""image, text: what that tower pools; product: both, brought to one width, and their product (Kim et al. 2017, arXiv
1610.04325); fusion: the first token of the text that has looked at the picture; features: the picture in the space that
it shares with texts, of unit length."""
NEEDS: dict[Reads, Set[str]] = {
    "image": frozenset({"image"}),
    "text": frozenset({"text"}),
    "product": frozenset({"image", "text"}),
    "fusion": frozenset({"fusion"}),
    "features": frozenset({"image", "projection"}),
}


class Reader(nn.Module):
    """From what the towers say to the vector of each row, B x `width`."""

    def __init__(self, model: Any, reads: Reads) -> None:
        super().__init__()
        self._reads = reads
        self.image: nn.Module | None = None
        self.text: nn.Module | None = None
        if reads == "product":
            width = int(model.text.width)
            self.image, self.text = nn.Linear(model.image.width, width), nn.Linear(width, width)
            self.width = 3 * width
        elif reads == "features":
            self.width = int(model.embedding)
        else:
            self.width = int(model.image.width if reads == "image" else model.text.width)

    def forward(self, model: Any, batch: Batch, encoded: Encoded) -> Tensor:
        match self._reads:
            case "image":
                return present(encoded.image_BD)
            case "text":
                return present(encoded.text_BD)
            case "features":
                return encoded.features.image_BE
            case "fusion":
                text_BLD = encoded.text_BLD if model.fusion.start == "text" else None
                x_BLD: Tensor = model.fuse(batch.tokens_BL, batch.mask_BL, encoded.image_BND, text_BLD)
                return x_BLD[:, 0]
            case "product":
                assert self.image is not None
                assert self.text is not None
                image_BD = F.gelu(self.image(present(encoded.image_BD)))
                text_BD = F.gelu(self.text(present(encoded.text_BD)))
                return torch.cat([image_BD, text_BD, image_BD * text_BD], dim=1)


def present(x_BD: Tensor | None) -> Tensor:
    """What the head's needs asked the model for."""
    assert x_BD is not None
    return x_BD


def layers(width: int, hidden: int | None, classes: int, dropout: float) -> nn.Sequential:
    """From a vector to logits: one layer, or two with GELU between."""
    last = nn.Linear(hidden or width, classes)
    nn.init.normal_(last.weight, std=0.02)
    nn.init.zeros_(last.bias)
    first = [nn.Linear(width, hidden), nn.GELU()] if hidden else []
    return nn.Sequential(*first, nn.Dropout(dropout), last)
