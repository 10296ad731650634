"""Image encoders of timm by name, with the rule for batch statistics."""

from dataclasses import field
from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean, settings

# open_clip's OPENAI_DATASET_MEAN and _STD, on the scale of uint8
MEAN = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
STD = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))


@settings
class TimmImage:
    """Any timm model: its pooled features for contrast, its tokens for fusion."""

    kind: Literal["timm"] = "timm"
    name: str
    """timm's name of the architecture, such as vit_base_patch16_224 or resnet50."""
    size: Annotated[int, Field(gt=0)] = 224
    """Side of the square input in pixels."""
    norm: Literal["frozen", "group", "batch"] = "frozen"
    """Rule for BatchNorm layers. frozen: fixed statistics, taken from pretrained weights or measured once on the
    first batches; group: GroupNorm in their place; batch: statistics of each rank's own rows, so gradients
    depend on how a batch is cut."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth at the last block."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the architecture, as timm's create_model takes them."""

    def build(self) -> "ImageTower":
        return ImageTower(_timm_model(self), self.size, self.norm)


def _timm_model(image: TimmImage) -> nn.Module:
    """The bare architecture, without a classifier.

    Raises:
        ConfigError: timm has no such model, or it cannot take pictures of this size.
    """
    if not timm.is_model(image.name):
        raise ConfigError(
            f"towers.image.name: timm has no {image.name!r}{did_you_mean(image.name, timm.list_models())}"
        )
    options: dict[str, Any] = {
        "num_classes": 0,
        "pretrained": False,
        "drop_path_rate": image.drop_path,
        **image.options,
    }
    fixed_size = "patch" in image.name or "vit" in image.name
    if fixed_size:
        options["img_size"] = image.size
    try:
        model: nn.Module = timm.create_model(image.name, **options)
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"towers.image: {image.name} does not take {image.size} px pictures: {error}") from error
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patch and image.size % patch[0]:
        near = max(1, round(image.size / patch[0])) * patch[0]
        raise ConfigError(
            f"towers.image.size: {image.size} px do not divide into {image.name}'s patches of {patch[0]}; use {near}"
        )
    return model


class ImageTower(nn.Module):
    """uint8 pictures -> tokens_BND and pooled_BD.

    Args:
        trunk: a timm model without classifier.
        size: side of the pictures.
        norm: see `TimmImage.norm`.
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, trunk: nn.Module, size: int, norm: str) -> None:
        super().__init__()
        if norm == "group":
            _group_norms(trunk)
        self.trunk = trunk
        self.size = size
        self.norm = norm
        self.width = int(trunk.num_features)  # type: ignore[arg-type]
        self.register_buffer("mean_C11", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std_C11", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)
        self.train(self.training)

    def train(self, mode: bool = True) -> "ImageTower":
        """As ever, but frozen BatchNorm keeps to its fixed statistics."""
        super().train(mode)
        if self.norm == "frozen":
            for module in self.batch_norms():
                module.eval()
        return self

    def batch_norms(self) -> list[_BatchNorm]:
        return [module for module in self.trunk.modules() if isinstance(module, _BatchNorm)]

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """tokens_BND in reading order (one token where the trunk pools by itself) and pooled_BD."""
        pixels_BCHW = (images_BCHW.float() - self.mean_C11) / self.std_C11
        features = self.trunk.forward_features(pixels_BCHW.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        pooled_BD = self.trunk.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return _as_tokens(features, self.width), pooled_BD


def _as_tokens(features: Tensor, width: int) -> Tensor:
    if features.ndim == 4 and features.shape[1] == width:
        return features.flatten(2).transpose(1, 2)
    return features.flatten(1, -2) if features.ndim == 4 else features


def _group_norms(trunk: nn.Module) -> None:
    """GroupNorm (groups of 16 channels) where BatchNorm was, with the activation that timm fuses into it."""
    for module in list(trunk.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                groups = max(1, child.num_features // 16)
                activation: list[Any] = [child.drop, child.act] if hasattr(child, "act") else []
                setattr(module, name, nn.Sequential(nn.GroupNorm(groups, child.num_features), *activation))


@torch.no_grad()
def measure_statistics(tower: ImageTower, batches: list[Tensor]) -> None:
    """Give frozen BatchNorm the mean and variance that `batches` (uint8, BCHW) have at initialisation.

    With statistics that are fixed but right at the start, a trunk trains from scratch and yet no row depends on
    its batch mates: the data-dependent initialisation of Krähenbühl et al. 2016 (arXiv 1511.06856), in the
    places where the architecture has its BatchNorm.
    """
    norms = tower.batch_norms()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for images_BCHW in batches:
        tower(images_BCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
