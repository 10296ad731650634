"""The image tower: uint8 pictures to tokens in reading order and a pooled vector, around any library's trunk."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isqrt
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.towers import kernels
from mmpretrain.towers.adapt import frozen_norms
from mmpretrain.towers.maps import Scale, as_map, chosen_maps, picture_of, scales_of

# mean and standard deviation of red, green and blue, on the scale of 0 to 1
NORMALISATIONS = {
    "openai": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

Encode = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]
EncodeMaps = Callable[[nn.Module, Tensor, Sequence[int] | None], tuple[Tensor, Tensor, Sequence[Tensor]]]
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What a library has to say about its trunks; a new library is one of these and its settings."""

    encode: Encode
    """(trunk, pixels_BCHW) -> tokens_BND in reading order, and pooled_BD."""
    encode_maps: EncodeMaps
    """The same, and the maps after stages or blocks (B x C x H x W) by their places from the input on, or None for all.
    """
    prefix: Callable[[nn.Module], int | None]
    """Tokens in front of the patches; None: as many as a square grid leaves over."""
    depth: Callable[[nn.Module], list[list[str]]]
    """Names of the parameters of each block from the input on, the stem first; [] where it is not known."""
    fit: Callable[[nn.Module, State], State]
    """Foreign names made the trunk's own, and position embeddings resized to the trunk's grid."""
    classifiers: Callable[[nn.Module], tuple[str, ...]]
    """Modules that stand in weights files and not in the trunk."""
    projects: bool = False
    """What it pools is already a vector of the space that pictures and texts share."""
    checkpoint: Callable[[nn.Module], bool]
    """Switch activation checkpointing on; False: the trunk has none."""


@settings
class ImageSettings:
    """What all image towers have; a variant adds its kind and name."""

    size: Annotated[int, Field(gt=0)] = 224
    """Side of the square input in pixels."""
    norm: Literal["frozen", "group", "batch"] = "frozen"
    """Rule for BatchNorm layers. frozen: fixed statistics, taken from the weights file or measured once on the first
    batches; group: GroupNorm in their place; batch: statistics of each rank's own rows, so gradients depend on how a
    batch is cut."""
    normalisation: Literal["openai", "imagenet", "half", "unit"] = "openai"
    """Mean and deviation of the pixels: CLIP's, ImageNet's, 0.5 for all, or 0 and 1. As the weights had."""
    weights: str | None = None
    """File to start from: .safetensors, or tensors in .pt, .pth, .bin; package:NAME/FILE is a file inside an installed
    Python package. Its classifier is left out, position embeddings are resized. None: random weights."""
    frozen_blocks: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Blocks from the input on that stay as they are; the stem with its embeddings is the first."""
    patch_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the patch tokens left out in training (FLIP, arXiv 2212.00794)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the pooled vector's channels zeroed in training."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth at the last block."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    widths: dict[str, Annotated[int, Field(gt=0)]] = field(default_factory=dict)
    """What pruning left of parts of the architecture: channels of a convolution inside a block, heads of an attention,
    channels inside an MLP, by the part's name, such as layer1.0.conv1, blocks.0.attn or blocks.0.mlp.fc1."""

    def __post_init__(self) -> None:
        if self.checkpointing and self.norm == "batch":
            raise ValueError(
                "checkpointing: a second forward pass moves the running statistics of norm=batch twice; use "
                "norm=frozen or group"
            )


def refuse_own_settings(options: Mapping[str, Any], own: Mapping[str, str]) -> None:
    """Raises ValueError: names an option of a library that has a setting of its own here, and that setting."""
    for option in options:
        if option in own:
            raise ValueError(f"options.{option}: has a setting of its own, {own[option]}")


class ImageTower(nn.Module):
    """uint8 pictures -> tokens_BND and pooled_BD.

    The first `prefix` tokens are class tokens and registers; the rest are the rows and columns of `grid`, left to
    right and top to bottom. In training with patch dropout, fewer patches follow the prefix. A trunk that pools by
    itself has only prefix tokens and the grid (0, 0).

    Args:
        trunk: a network without classifier.
        image: the settings that it was built from.
        adapter: how its library runs it.
        notes: see below.

    Attributes:
        width: channels of the pooled vector.
        token_width: channels of a token; some trunks widen only what they pool.
        from_file: the weights, and so the statistics of BatchNorm, are those of a file.
        notes: what a person should know about how it was built.
        scales: of the maps that it hands out, from the finest on; none before `hand_out_maps`.

    Raises:
        ConfigError: the trunk does not take pictures of this size.
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, trunk: nn.Module, image: ImageSettings, adapter: Adapter, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.trunk = trunk
        self.size = image.size
        self.norm = image.norm
        self.dropout = image.dropout
        self.from_file = image.weights is not None
        self.notes = notes
        self.projects = adapter.projects
        self.scales: tuple[Scale, ...] = ()
        self._adapter = adapter
        self._checkpointing = image.checkpointing
        self._places: list[int] = []
        mean, std = NORMALISATIONS[image.normalisation]
        # on the scale of uint8
        self.register_buffer("mean_C11", torch.tensor([255 * value for value in mean]).view(3, 1, 1), persistent=False)
        self.register_buffer("std_C11", torch.tensor([255 * value for value in std]).view(3, 1, 1), persistent=False)
        self._format = memory_format(trunk)
        self.to(memory_format=self._format)
        self._measure(adapter.prefix(trunk))
        self.train(self.training)

    @torch.no_grad()
    def _measure(self, prefix: int | None) -> None:
        """Look at one black picture: trunks do not say reliably how wide and how many their tokens are."""
        was_training = self.training
        self.eval()
        try:
            tokens_BND, pooled_BD = self(picture_of(self.size))
        except (AssertionError, ValueError, TypeError, RuntimeError, IndexError) as error:
            raise ConfigError(f"towers.image.size: this tower takes no {self.size} px pictures: {error}") from error
        self.train(was_training)
        count = tokens_BND.shape[1]
        self.width, self.token_width = pooled_BD.shape[1], tokens_BND.shape[2]
        self.prefix = count - isqrt(count) ** 2 if prefix is None else min(prefix, count)
        side = isqrt(count - self.prefix)
        if side * side != count - self.prefix:
            raise ConfigError(f"towers.image: {count} tokens, {self.prefix} in front, are no square grid")
        self.grid = (side, side)

    @torch.no_grad()
    def hand_out_maps(self) -> None:
        """Find out which maps there are, and hand them out from now on where they are asked for.

        Raises:
            ConfigError: the trunk has none, or no map of its last tokens.
        """
        name = type(self.trunk).__name__
        if not self.grid[0]:
            raise ConfigError(f"towers.image.name: {name} pools its tokens itself, and a map is needed; use another")
        was_training = self.training
        self.eval()
        try:
            every = self._adapter.encode_maps(self.trunk, self.pixels(picture_of(self.size)), None)[2]
        except (AttributeError, TypeError) as error:
            raise ConfigError(
                f"towers.image.name: {name} hands out no maps of its stages; use a ResNet, ConvNeXt, "
                "EfficientNet, Swin or ViT, or a newer timm"
            ) from error
        self._places = chosen_maps([scale.side for scale in scales_of(every)], self.grid[0])
        self.scales = scales_of(self(picture_of(self.size), maps=True)[2:])
        self.train(was_training)

    def train(self, mode: bool = True) -> "ImageTower":
        """As ever, but frozen BatchNorm keeps to its fixed statistics."""
        super().train(mode)
        for module in self.batch_norms() if self.norm == "frozen" else frozen_norms(self.trunk):
            module.eval()
        return self

    def batch_norms(self) -> list[_BatchNorm]:
        return [module for module in self.trunk.modules() if isinstance(module, _BatchNorm)]

    def needs_statistics(self) -> bool:
        """Whether frozen BatchNorm still has the zeros and ones that it was built with."""
        return self.norm == "frozen" and not self.from_file and bool(self.batch_norms())

    def depth(self) -> list[list[str]]:
        """Names of the parameters of each block, the stem first; [] where they are not known."""
        return [[f"trunk.{name}" for name in block] for block in self._adapter.depth(self.trunk)]

    def fit(self, state: State) -> State:
        """A state of another tower of this kind for this one: position embeddings resized to its grid."""
        return self._adapter.fit(self.trunk, state)

    def pixels(self, images_BCHW: Tensor) -> Tensor:
        """Pictures on the scale that the trunk was trained on."""
        pixels_BCHW = normalised(images_BCHW, self.mean_C11, self.std_C11)
        # a model that learns no more may keep its weights in fewer bits
        kind = next((weight.dtype for weight in self.trunk.parameters()), pixels_BCHW.dtype)
        return pixels_BCHW.to(kind).contiguous(memory_format=self._format)

    def forward(self, images_BCHW: Tensor, maps: bool = False) -> tuple[Tensor, ...]:
        """Tokens, pooled vectors, and with `maps` those of `scales`, the last of which is that of the tokens."""
        found: Sequence[Tensor] = ()
        pixels_BCHW = self.pixels(images_BCHW)
        # what is computed again inside backward would be computed by another kernel
        with nullcontext() if self._checkpointing else kernels.attention_kernel(pixels_BCHW):
            if maps:
                tokens_BND, pooled_BD, found = self._adapter.encode_maps(self.trunk, pixels_BCHW, self._places)
                found = (*found, as_map(tokens_BND, self.prefix, self.grid[0]))
            else:
                tokens_BND, pooled_BD = self._adapter.encode(self.trunk, pixels_BCHW)
        if self.dropout:
            pooled_BD = F.dropout(pooled_BD, self.dropout, self.training)
        return tokens_BND, pooled_BD, *found


def normalised(images_BCHW: Tensor, mean_C11: Tensor, std_C11: Tensor) -> Tensor:
    """(images - mean) / std, at least fp32, in the memory format of the images.

    Where colours stand side by side in memory a row is one run of numbers: a fifth of the time that three colours at a
    time take on the processor.
    """
    if torch.compiler.is_exporting() or not images_BCHW.is_contiguous(memory_format=torch.channels_last):
        return (images_BCHW.float() - mean_C11) / std_C11
    width, dtype = images_BCHW.shape[3], torch.promote_types(mean_C11.dtype, torch.float32)
    # of the colours of a row of pixels
    mean_R, std_R = mean_C11.flatten().repeat(width), std_C11.flatten().repeat(width)
    rows_BHR = images_BCHW.permute(0, 2, 3, 1).flatten(2).to(dtype, copy=True)
    return rows_BHR.sub_(mean_R).div_(std_R).unflatten(2, (width, -1)).permute(0, 3, 1, 2)


def memory_format(trunk: nn.Module) -> torch.memory_format:
    """Channels last, which is faster, but for trunks whose backward pass it breaks.

    On the processor, torch 2.14 writes beyond its memory in the backward pass of a 1x1 convolution with a stride and
    3, 4 or 8 input channels (seen in FastViT and MobileOne, whose stems have one on the pixels); 12 and more are fine.
    """
    broken = any(
        isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.stride != (1, 1) and part.in_channels < 12
        for part in trunk.modules()
    )
    return torch.contiguous_format if broken else torch.channels_last


def as_tokens(features: Tensor, channels: int) -> Tensor:
    """A map (BCHW when its second axis is `channels` long, else BHWC) or tokens as tokens_BND in reading order."""
    if features.ndim == 3:
        return features
    if features.shape[1] == channels:
        return features.flatten(2).transpose(1, 2)
    return features.flatten(1, 2)


def refuse_other_sizes(name: str, size: int, patch: int | None) -> None:
    """A picture that patches do not divide would lose its right and lower edge.

    Raises:
        ConfigError: with a size that they do.
    """
    if patch and size % patch:
        near = max(1, round(size / patch)) * patch
        raise ConfigError(f"towers.image.size: {size} px do not divide into {name}'s patches of {patch}; use {near}")
