"""Small models of every library's manner that can be explained, and pictures whose truth is known."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmpretrain.explain.base import Target
from mmpretrain.towers.image import ImageTower, OpenClipImage, TimmImage, TorchvisionImage

SMALL_VIT = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
TOWERS: dict[str, Callable[[], ImageTower]] = {
    "timm resnet": TimmImage(name="test_resnet", size=64).build,
    "timm vit": TimmImage(name="test_vit", size=64).build,
    "torchvision resnet": TorchvisionImage(name="resnet18", size=64).build,
    "open_clip vit": OpenClipImage(name="ViT-B-32", size=64, options=SMALL_VIT).build,
    "open_clip resnet": OpenClipImage(name="RN50", size=64, options={"layers": [1, 1, 1, 1], "width": 8}).build,
    "queries that pool": OpenClipImage(name="ViT-B-16-SigLIP", size=64, options={"timm_model_name": "test_vit3"}).build,
}
VITS = ("timm vit", "open_clip vit", "queries that pool")


class Looking(nn.Module):
    """An image tower as a model."""

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.image = image
        self.image_pool = None


def model_of(name: str) -> Looking:
    torch.manual_seed(0)
    return Looking(TOWERS[name]())


def some_target(model: Looking) -> Target:
    direction_D = torch.randn(model.image.width, generator=torch.Generator().manual_seed(1))
    return Target(name="anything", score=lambda images_BCHW: model.image(images_BCHW)[1] @ direction_D)


def noise(size: int = 64, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def quadrant_target(size: int = 64) -> tuple[Target, Tensor]:
    """The mean of the upper right quadrant of a picture, and the mask of that quadrant."""
    mask_HW = torch.zeros(size, size, dtype=torch.bool)
    mask_HW[: size // 2, size // 2 :] = True
    return Target(name="corner", score=lambda images: images.float()[:, :, mask_HW].mean(dim=(1, 2)) / 255), mask_HW
