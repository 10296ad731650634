"""open_clip's image towers by the name of a model config: Vision Transformers, CLIP's ResNets, and timm's inside."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any, Literal

import open_clip
import timm
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers.patch_dropout import PatchDropout
from timm.models import group_parameters
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean, settings
from mmpretrain.towers.build import finish
from mmpretrain.towers.image_tower import (
    Adapter,
    ImageSettings,
    ImageTower,
    State,
    as_tokens,
    refuse_other_sizes,
    refuse_own_settings,
)
from mmpretrain.towers.maps import as_map
from mmpretrain.towers.pretrained import resize_positions
from mmpretrain.towers.timm_trunk import TIMM, intermediates, keep_order, timm_tokens

MODEL_OPTIONS = ("embed_dim", "quick_gelu")
"""Options that stand beside vision_cfg in the config of a model."""
OWN_SETTINGS = {
    "timm_model_pretrained": "weights",
    "image_size": "size",
    "patch_dropout": "patch_dropout",
    "timm_drop_path": "drop_path",
}
"""Keys of vision_cfg that have a setting."""
NO_TEXT = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
"""The smallest text tower: open_clip builds both, and the one of the config may be large or want a download."""


@settings
class OpenClipImage(ImageSettings):
    """The image tower of an open_clip model; what it pools is what open_clip's encode_image gives."""

    kind: Literal["open_clip"] = "open_clip"
    name: str
    """open_clip's name of the model, such as ViT-B-32 or RN50."""
    options: dict[str, Any] = field(default_factory=dict)
    """What differs from the config of that name: embed_dim, quick_gelu, or of its vision_cfg, as {layers: 6}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_own_settings(self.options, OWN_SETTINGS)

    def build(self) -> ImageTower:
        return finish(self, self.name, _create(self), OPEN_CLIP)


def _create(image: OpenClipImage) -> nn.Module:
    """The visual part of the model.

    Raises:
        ConfigError: open_clip has no such model, or it refuses the settings.
    """
    config = open_clip.get_model_config(image.name)
    if config is None:
        known = did_you_mean(image.name, open_clip.list_models())
        raise ConfigError(f"towers.image.name: open_clip has no {image.name!r}{known}")
    config |= {option: value for option, value in image.options.items() if option in MODEL_OPTIONS}
    options = {option: value for option, value in image.options.items() if option not in MODEL_OPTIONS}
    vision = config["vision_cfg"] | options
    vision |= {"timm_model_pretrained": False, "image_size": image.size, "patch_dropout": 0.0}
    if inner := vision.get("timm_model_name"):
        if not timm.is_model(inner):  # such as one that timm would fetch from a hub
            raise ConfigError(f"towers.image.options.timm_model_name: timm has no {inner!r}; give one that it has")
        vision |= {"timm_drop_path": image.drop_path or None, "patch_dropout": image.patch_dropout}
    elif image.drop_path:
        raise ConfigError(f"towers.image.drop_path: open_clip's {image.name} has none; leave it out")
    try:
        trunk: nn.Module = open_clip.CLIP(
            config["embed_dim"], vision, NO_TEXT, quick_gelu=config.get("quick_gelu", False)
        ).visual
        if isinstance(trunk, TimmModel):
            trunk.set_input_size(image.size)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(f"towers.image.options: {image.name} does not take them: {error}") from error
    _refuse_size(trunk, image)
    if image.patch_dropout:
        _drop_patches(trunk, image)
    return trunk


def _refuse_size(trunk: nn.Module, image: OpenClipImage) -> None:
    if isinstance(trunk, VisionTransformer):
        refuse_other_sizes(image.name, image.size, trunk.patch_size[0])
    elif isinstance(trunk, ModifiedResNet):
        refuse_other_sizes(image.name, image.size, 32)  # the places that its attention pool is built for


def _drop_patches(trunk: nn.Module, image: OpenClipImage) -> None:
    """open_clip's own patch dropout would shuffle the tokens.

    Raises:
        ConfigError: the tower has no patch tokens.
    """
    if isinstance(trunk, VisionTransformer):
        trunk.patch_dropout = PatchDropout(image.patch_dropout, num_prefix_tokens=1, ordered=True)
    else:
        keep_order(trunk, image.name)


def encode(trunk: nn.Module, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(trunk, TimmModel):
        features = trunk.trunk.forward_features(pixels_BCHW)
        return timm_tokens(trunk.trunk, features), trunk.head(trunk.trunk.forward_head(features))
    return encode_maps(trunk, pixels_BCHW, ())[:2]


def encode_maps(
    trunk: nn.Module, pixels_BCHW: Tensor, places: Sequence[int] | None
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    if isinstance(trunk, TimmModel):
        tokens_BND, features, maps = intermediates(trunk.trunk, pixels_BCHW, places)
        return tokens_BND, trunk.head(trunk.trunk.forward_head(features)), maps
    if isinstance(trunk, ModifiedResNet):
        found = trunk.forward_intermediates(pixels_BCHW, indices=_with_last(places, RESNET_STAGES))
        maps = found["image_intermediates"]
        tokens_BND = as_tokens(maps[-1], maps[-1].shape[1])
        return tokens_BND, found["image_features"], maps if places is None else maps[:-1]
    return _encode_vit(trunk, pixels_BCHW, places)


RESNET_STAGES = 5
"""Of CLIP's ResNets, with the stem."""


def _with_last(places: Sequence[int] | None, count: int) -> list[int]:
    """Places of maps, and the last, whose map is that of the tokens."""
    return [*range(count)] if places is None else [*places, count - 1]


def _encode_vit(
    trunk: Any, pixels_BCHW: Tensor, places: Sequence[int] | None
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    # CoCa's last norm is for what its attention pool gives, not for tokens
    normed = trunk.attn_pool is None
    found = trunk.forward_intermediates(
        pixels_BCHW,
        indices=_with_last(places, len(trunk.transformer.resblocks)),
        normalize_intermediates=normed,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    patches = found["image_intermediates"]
    tokens_BND = torch.cat([found["image_intermediates_prefix"][-1], patches[-1]], dim=1)
    wanted = patches if places is None else patches[:-1]
    return tokens_BND, found["image_features"], [as_map(each_BND, 0, trunk.grid_size[0]) for each_BND in wanted]


def _prefix(trunk: nn.Module) -> int | None:
    if isinstance(trunk, TimmModel):
        return TIMM.prefix(trunk.trunk)
    return 1 if isinstance(trunk, VisionTransformer) else 0


def _depth(trunk: nn.Module) -> list[list[str]]:
    if isinstance(trunk, TimmModel):
        blocks = [[f"trunk.{name}" for name in names] for names in TIMM.depth(trunk.trunk)]
        head = [f"head.{name}" for name, _ in trunk.head.named_parameters()]
        return [*blocks, head] if blocks and head else blocks
    stem, block = (
        (r"^(?:class_embedding|positional_embedding|conv1|ln_pre)", r"^transformer\.resblocks\.(\d+)")
        if isinstance(trunk, VisionTransformer)
        else (r"^(?:conv|bn)\d", r"^layer(\d+)\.(\d+)")
    )
    groups = group_parameters(trunk, {"stem": stem, "blocks": block})
    return [groups[number] for number in sorted(groups)]


def _fit(trunk: nn.Module, state: State) -> State:
    if isinstance(trunk, TimmModel):
        inner = {name.removeprefix("trunk."): value for name, value in state.items() if name.startswith("trunk.")}
        outer = {name: value for name, value in state.items() if not name.startswith("trunk.")}
        return outer | {f"trunk.{name}": value for name, value in TIMM.fit(trunk.trunk, inner).items()}
    fitted = dict(state)
    for name, expected in trunk.state_dict().items():
        if name in ("positional_embedding", "attnpool.positional_embedding"):
            resize_positions(fitted, name, expected)
    return fitted


def _checkpoint(trunk: nn.Module) -> bool:
    if isinstance(trunk, TimmModel):
        return TIMM.checkpoint(trunk.trunk)
    if isinstance(trunk, VisionTransformer):
        trunk.set_grad_checkpointing(True)
        return True
    return False  # open_clip's ResNet takes the call and does nothing


OPEN_CLIP = Adapter(
    projects=True,
    encode=encode,
    encode_maps=encode_maps,
    prefix=_prefix,
    depth=_depth,
    fit=_fit,
    classifiers=lambda trunk: (),
    checkpoint=_checkpoint,
)
