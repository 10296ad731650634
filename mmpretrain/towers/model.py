"""The model: an image tower and a text tower, each with a projection into the shared space."""

from dataclasses import field
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.settings import settings
from mmpretrain.towers.image import ImageEncoder, ImageTower
from mmpretrain.towers.text import CausalText, TextTower


@settings
class Towers:
    """Both encoders and the width of the space that they share."""

    image: ImageEncoder
    text: CausalText = field(default_factory=CausalText)
    embedding: Annotated[int, Field(gt=0)] = 512
    """Width of the shared space."""

    def build(self, vocabulary: int, context_length: int) -> "Model":
        return Model(self.image.build(), self.text.build(vocabulary, context_length), self.embedding)


class Model(nn.Module):
    """Two towers and their linear projections; single-device, no knowledge of ranks."""

    def __init__(self, image: ImageTower, text: TextTower, embedding: int) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.image_projection = nn.Linear(image.width, embedding, bias=False)
        self.text_projection = nn.Linear(text.width, embedding, bias=False)
        nn.init.normal_(self.text_projection.weight, std=text.width**-0.5)

    def embed_images(self, images_BCHW: Tensor) -> Tensor:
        """image_BE, fp32, of unit length."""
        _, pooled_BD = self.image(images_BCHW)
        return F.normalize(self.image_projection(pooled_BD).float(), dim=-1)

    def embed_texts(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """text_BE, fp32, of unit length."""
        _, pooled_BD = self.text(tokens_BL, mask_BL)
        return F.normalize(self.text_projection(pooled_BD).float(), dim=-1)

    def forward(self, batch: Batch) -> Features:
        return Features(
            image_BE=self.embed_images(batch.images_BCHW),
            text_BE=self.embed_texts(batch.tokens_BL, batch.mask_BL),
            image_group_B=batch.image_group_B,
            text_group_B=batch.text_group_B,
            source_B=batch.positions_B * 0 if batch.source_B is None else batch.source_B,
        )
