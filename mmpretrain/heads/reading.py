"""What a head looks at: one vector of each row."""

from collections.abc import Set
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded

Reads = Literal["image", "text", "pooled", "fusion", "features"]
"""image, text: what that tower pools; pooled: both and their product, which asks for equal widths; fusion: the first
token of the text that has looked at the picture; features: the picture in the space that it shares with texts."""
NEEDS: dict[Reads, Set[str]] = {
    "image": frozenset({"image"}),
    "text": frozenset({"text"}),
    "pooled": frozenset({"image", "text"}),
    "fusion": frozenset({"fusion"}),
    "features": frozenset({"features"}),
}


def width_of(model: Any, reads: Reads) -> int:
    """Channels of what `read` gives."""
    if reads == "pooled":
        return 3 * int(model.text.width)
    widths = {"image": model.image, "text": model.text, "fusion": model.text}
    return int(model.embedding if reads == "features" else widths[reads].width)


def read(model: Any, batch: Batch, encoded: Encoded, reads: Reads) -> Tensor:
    """The vector of each row, B x width."""
    found: Tensor | None
    match reads:
        case "image":
            found = encoded.image_BD
        case "text":
            found = encoded.text_BD
        case "features":
            found = encoded.features.image_BE
        case "pooled":
            image_BD, text_BD = encoded.image_BD, encoded.text_BD
            assert image_BD is not None
            assert text_BD is not None
            found = torch.cat([image_BD, text_BD, image_BD * text_BD], dim=1)
        case "fusion":
            text_BLD = encoded.text_BLD if model.fusion.start == "text" else None
            found = model.fuse(batch.tokens_BL, batch.mask_BL, encoded.image_BND, text_BLD)[:, 0]
    assert found is not None
    return found


def layers(width: int, hidden: int | None, classes: int, dropout: float) -> nn.Module:
    """From a vector to logits: one layer, or two with GELU between."""
    last = nn.Linear(hidden or width, classes)
    nn.init.normal_(last.weight, std=0.02)
    nn.init.zeros_(last.bias)
    first = [nn.Linear(width, hidden), nn.GELU()] if hidden else []
    return nn.Sequential(*first, nn.Dropout(dropout), last)
