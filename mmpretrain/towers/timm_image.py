"""Image encoders of timm by name."""

import re
from dataclasses import field
from typing import Any, Literal

import timm
from torch import nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean, settings
from mmpretrain.towers.build import finish
from mmpretrain.towers.image_tower import ImageSettings, ImageTower, refuse_other_sizes, refuse_own_settings
from mmpretrain.towers.timm_trunk import TIMM, keep_order

OWN_SETTINGS = {
    "pretrained": "weights",
    "checkpoint_path": "weights",
    "pretrained_cfg": "weights",
    "pretrained_cfg_overlay": "weights",
    "img_size": "size",
    "drop_path_rate": "drop_path",
    "patch_drop_rate": "patch_dropout",
}
"""Arguments of create_model that have a setting; those of weights would download or unpickle."""


@settings
class TimmImage(ImageSettings):
    """Any timm model: its pooled features for contrast, its tokens for fusion."""

    kind: Literal["timm"] = "timm"
    name: str
    """timm's name of the architecture, such as vit_base_patch16_224 or resnet50."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the architecture, as timm's create_model takes them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_own_settings(self.options, OWN_SETTINGS)

    def build(self) -> ImageTower:
        return finish(self, self.name, _create(self), TIMM)


def _create(image: TimmImage) -> nn.Module:
    """The bare architecture, without a classifier.

    Raises:
        ConfigError: timm has no such model, or it cannot take pictures of this size.
    """
    if not timm.is_model(image.name):
        raise ConfigError(
            f"towers.image.name: timm has no {image.name!r}{did_you_mean(image.name, timm.list_models())}"
        )
    # architectures do not say which of these they take; they refuse the others
    asked: dict[str, Any] = {"img_size": image.size, "drop_path_rate": image.drop_path}
    if image.patch_dropout:
        asked["patch_drop_rate"] = image.patch_dropout
    while True:
        try:
            trunk: nn.Module = timm.create_model(image.name, num_classes=0, **asked, **image.options)
            break
        except TypeError as error:
            refused = re.search(r"unexpected keyword argument(?:\(s\): \[)?\s*'(\w+)'", str(error))
            if refused is None or refused[1] not in asked:
                raise ConfigError(f"towers.image.options: {image.name} does not take them: {error}") from error
            if asked.pop(refused[1]) and refused[1] != "img_size":
                raise ConfigError(
                    f"towers.image.{OWN_SETTINGS[refused[1]]}: {image.name} has none; leave it out"
                ) from error
        except (AssertionError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ConfigError(f"towers.image: {image.name} does not take {image.size} px pictures: {error}") from error
    patch = getattr(getattr(trunk, "patch_embed", None), "patch_size", None)
    refuse_other_sizes(image.name, image.size, patch[0] if isinstance(patch, tuple) else patch)
    if image.patch_dropout:
        keep_order(trunk, image.name)
    return trunk
