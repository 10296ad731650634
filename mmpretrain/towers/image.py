"""The image towers: one of timm, torchvision and open_clip by name."""

from typing import Annotated

from pydantic import Field

from mmpretrain.towers.image_tower import ImageTower
from mmpretrain.towers.norms import measure_statistics
from mmpretrain.towers.open_clip_image import OpenClipImage
from mmpretrain.towers.timm_image import TimmImage
from mmpretrain.towers.torchvision_image import TorchvisionImage

__all__ = ["ImageEncoder", "ImageTower", "OpenClipImage", "TimmImage", "TorchvisionImage", "measure_statistics"]

ImageEncoder = Annotated[TimmImage | TorchvisionImage | OpenClipImage, Field(discriminator="kind")]
"""The union of all image towers; another one is another file and another name here."""
