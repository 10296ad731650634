"""Image encoders of torchvision by name: its classification backbones without their classifiers."""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any, Literal, NamedTuple

import torch
import torchvision.models
from timm.layers.patch_dropout import PatchDropout
from timm.models import group_parameters
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean, settings
from mmpretrain.towers.build import finish
from mmpretrain.towers.image_tower import Adapter, ImageSettings, ImageTower, State, as_tokens, refuse_other_sizes
from mmpretrain.towers.maps import as_map
from mmpretrain.towers.pretrained import resize_positions

VIT = torchvision.models.VisionTransformer


@settings
class TorchvisionImage(ImageSettings):
    """A torchvision classification model: the mean of its last map for contrast, the map's places for fusion."""

    kind: Literal["torchvision"] = "torchvision"
    name: str
    """torchvision's name of the model, such as resnet50, vit_b_16, convnext_tiny, efficientnet_b0 or swin_t."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the model, as torchvision's constructor takes them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, own in (("weights", "weights"), ("image_size", "size"), ("stochastic_depth_prob", "drop_path")):
            if option in self.options:
                raise ValueError(f"options.{option}: has a setting of its own, {own}")

    def build(self) -> ImageTower:
        return finish(self, self.name, _create(self), TORCHVISION)


class Family(NamedTuple):
    """How a class of torchvision is walked through."""

    path: tuple[str, ...] = ("features",)
    """Modules that one after the other make the map."""
    head: str = "classifier"
    """The classifier."""
    stem: str = r"^$"
    """Regular expression of the stem's parameters, where the first block is not the stem."""
    blocks: str = r"^features\.(\d+)"
    """Regular expression of a block's parameters; its groups are numbers that rise with depth."""


FAMILIES = {
    "ResNet": Family(
        path=("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
        head="fc",
        stem=r"^(?:conv1|bn1)\.",
        blocks=r"^layer(\d+)\.(\d+)",
    ),
    "ConvNeXt": Family(),
    "EfficientNet": Family(),
    "MobileNetV2": Family(),
    "MobileNetV3": Family(),
    "VGG": Family(),
    "RegNet": Family(
        path=("stem", "trunk_output"),
        head="fc",
        stem=r"^stem\.",
        blocks=r"^trunk_output\.block(\d+)\.block\d+-(\d+)",
    ),
    "SwinTransformer": Family(path=("features", "norm"), head="head"),
    "VisionTransformer": Family(
        path=(),
        head="heads",
        stem=r"^(?:class_token|conv_proj|encoder\.pos_embedding)",
        blocks=r"^encoder\.layers\.encoder_layer_(\d+)",
    ),
}


def _create(image: TorchvisionImage) -> nn.Module:
    """The model without its classifier.

    Raises:
        ConfigError: torchvision has no such model, it is not walked through here, or it refuses the settings.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if image.name not in known:
        raise ConfigError(f"towers.image.name: torchvision has no {image.name!r}{did_you_mean(image.name, known)}")
    trunk = _construct(image)
    if type(trunk).__name__ not in FAMILIES:
        raise ConfigError(
            f"towers.image.name: no tokens are known of torchvision's {image.name}; take timm's, or one of the "
            f"families {', '.join(FAMILIES)}"
        )
    _take_off_classifier(trunk)
    if image.patch_dropout:
        if not isinstance(trunk, VIT):
            raise ConfigError(f"towers.image.patch_dropout: {image.name} has no patch tokens; leave it out")
        # the place of the embeddings' dropout, which is 0
        trunk.encoder.dropout = PatchDropout(image.patch_dropout, num_prefix_tokens=1, ordered=True)
    return trunk


def _construct(image: TorchvisionImage) -> nn.Module:
    arguments: dict[str, Any] = {"weights": None, **image.options}
    if image.name.startswith("vit_"):
        refuse_other_sizes(image.name, image.size, int(image.name.rpartition("_")[2]))
        arguments["image_size"] = image.size
    try:
        trunk: nn.Module = torchvision.models.get_model(image.name, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"towers.image.options: {image.name} does not take them: {error}") from error
    _set_drop_path(trunk, image)
    return trunk


def _set_drop_path(trunk: nn.Module, image: TorchvisionImage) -> None:
    """Rates that rise evenly to the last block; torchvision's Swin does not take them when it is built.

    Raises:
        ConfigError: the model has no stochastic depth.
    """
    paths = [part for part in trunk.modules() if isinstance(part, StochasticDepth)]
    for place, part in enumerate(paths):
        part.p = image.drop_path * place / max(1, len(paths) - 1)
    if image.drop_path and not paths:
        raise ConfigError(f"towers.image.drop_path: torchvision's {image.name} has none; leave it out")


def _take_off_classifier(trunk: nn.Module) -> None:
    head = FAMILIES[type(trunk).__name__].head
    # ConvNeXt's classifier begins with the norm of what is pooled; it keeps its name, classifier.0
    kept = nn.Sequential(trunk.classifier[0]) if isinstance(trunk, torchvision.models.ConvNeXt) else nn.Identity()
    setattr(trunk, head, kept)


def encode(trunk: nn.Module, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    return encode_maps(trunk, pixels_BCHW, ())[:2]


def encode_maps(
    trunk: nn.Module, pixels_BCHW: Tensor, places: Sequence[int] | None
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    if isinstance(trunk, VIT):
        tokens_BND, maps = _encode_vit(trunk, pixels_BCHW, places)
        return tokens_BND, tokens_BND[:, 0], maps
    features, maps = pixels_BCHW, []
    swin = isinstance(trunk, torchvision.models.SwinTransformer)
    for place, block in enumerate(_blocks(trunk)):
        features = _run(trunk, block, features)
        if places is None or place in places:
            maps.append(features.permute(0, 3, 1, 2) if swin else features)
    tokens_BND = as_tokens(features, 0 if swin else features.shape[1])
    mean_BD11 = tokens_BND.mean(dim=1)[:, :, None, None]
    head: nn.Module = getattr(trunk, FAMILIES[type(trunk).__name__].head)
    return tokens_BND, head(mean_BD11).flatten(1), maps


def _blocks(trunk: nn.Module) -> Iterator[nn.Module]:
    for name in FAMILIES[type(trunk).__name__].path:
        module: nn.Module = getattr(trunk, name)
        yield from module if isinstance(module, nn.Sequential) else (module,)


def _encode_vit(trunk: Any, pixels_BCHW: Tensor, places: Sequence[int] | None) -> tuple[Tensor, list[Tensor]]:
    """The forward pass of torchvision's VisionTransformer up to its classifier, and the maps after some blocks."""
    map_BDHW, maps = trunk.conv_proj(pixels_BCHW), []
    patches_BND = map_BDHW.flatten(2).transpose(1, 2)
    tokens_BND = torch.cat([trunk.class_token.expand(len(patches_BND), -1, -1), patches_BND], dim=1)
    tokens_BND = trunk.encoder.dropout(tokens_BND + trunk.encoder.pos_embedding)
    for place, block in enumerate(trunk.encoder.layers):
        tokens_BND = _run(trunk, block, tokens_BND)
        if places is None or place in places:
            maps.append(as_map(tokens_BND, 1, map_BDHW.shape[2]))
    return trunk.encoder.ln(tokens_BND), maps


def _run(trunk: nn.Module, block: nn.Module, x: Tensor) -> Tensor:
    # not for bare layers: torchvision's ReLU writes over its input, which the second pass would need
    if getattr(trunk, "checkpointing", False) and torch.is_grad_enabled() and _has_layers(block):
        again: Tensor = checkpoint(block, x, use_reentrant=False)
        return again
    return block(x)


def depth(trunk: nn.Module) -> list[list[str]]:
    family = FAMILIES[type(trunk).__name__]
    # 99999 is timm's mark for "belongs to the block before": the norm behind the last one
    last_norm = (r"^(?:norm|classifier|encoder\.ln)\.", (99999,))
    groups = group_parameters(trunk, {"stem": family.stem, "blocks": [(family.blocks, None), last_norm]})
    return [groups[block] for block in sorted(groups)]


def _fit(trunk: nn.Module, state: State) -> State:
    fitted = dict(state)
    if isinstance(trunk, VIT):
        resize_positions(fitted, "encoder.pos_embedding", trunk.encoder.pos_embedding)
    return fitted


def _has_layers(block: nn.Module) -> bool:
    return any(True for _ in block.children())


def _checkpoint(trunk: nn.Module) -> bool:
    trunk.checkpointing = True  # type: ignore[assignment]
    return isinstance(trunk, VIT) or any(_has_layers(block) for block in _blocks(trunk))


TORCHVISION = Adapter(
    encode=encode,
    encode_maps=encode_maps,
    prefix=lambda trunk: 1 if isinstance(trunk, VIT) else 0,
    depth=depth,
    fit=_fit,
    classifiers=lambda trunk: (FAMILIES[type(trunk).__name__].head,),
    checkpoint=_checkpoint,
)
