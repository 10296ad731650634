"""timm's trunks, alone or inside an open_clip tower: how to run, number, freeze and fill them."""

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from timm.layers.patch_dropout import PatchDropout, PatchDropoutWithIndices
from timm.models import group_parameters
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers.efficientnet_names import is_efficientnet_pytorch, to_timm_names
from mmpretrain.towers.image_tower import Adapter, State, as_tokens


def keep_order(trunk: nn.Module, name: str) -> None:
    """Patches that stay keep their order, so that tokens are in reading order in training too.

    Raises:
        ConfigError: the trunk has no patch dropout.
    """
    dropouts = [part for part in trunk.modules() if isinstance(part, PatchDropout | PatchDropoutWithIndices)]
    for dropout in dropouts:
        dropout.ordered = True
    if not dropouts:
        raise ConfigError(f"towers.image.patch_dropout: {name} has none; leave it out")


def encode(trunk: nn.Module, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    features = trunk.forward_features(pixels_BCHW)  # type: ignore[operator]
    pooled_BD = trunk.forward_head(features, pre_logits=True)  # type: ignore[operator]
    return timm_tokens(trunk, features), pooled_BD


def encode_maps(
    trunk: nn.Module, pixels_BCHW: Tensor, places: Sequence[int] | None
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    tokens_BND, features, maps = intermediates(trunk, pixels_BCHW, places)
    return tokens_BND, trunk.forward_head(features, pre_logits=True), maps  # type: ignore[operator]


def intermediates(trunk: Any, pixels_BCHW: Tensor, places: Sequence[int] | None) -> tuple[Tensor, Any, list[Tensor]]:
    """Tokens, what the head pools, and the maps after some stages or blocks; None: after all."""
    # the last one too: without it Hiera stops early
    indices = None if places is None else [*places, -1]
    features, maps = trunk.forward_intermediates(pixels_BCHW, indices=indices)
    return timm_tokens(trunk, features), features, maps if places is None else maps[: len(places)]


def timm_tokens(trunk: nn.Module, features: Tensor | list[Tensor]) -> Tensor:
    """tokens_BND; of a trunk with several scales those of the last, the coarsest."""
    if isinstance(features, list | tuple):
        last = features[-1]
        # EfficientViM alone gives scales as BDN
        return last.transpose(1, 2) if type(trunk).__name__.startswith("EfficientViM") else last
    return as_tokens(features, int(trunk.num_features))  # type: ignore[arg-type]


def prefix_of(trunk: nn.Module) -> int | None:
    if type(trunk).__name__ == "PoolingVisionTransformer":
        return 2  # it hands out its class token, and the distilled one if it has that, and no patches
    prefix = getattr(trunk, "num_prefix_tokens", None)
    return int(prefix) if prefix is not None else None


def timm_depth(trunk: nn.Module) -> list[list[str]]:
    """Names of the parameters of each block, as timm groups them for layer decay."""
    if not hasattr(trunk, "group_matcher"):
        return []
    groups = group_parameters(trunk, trunk.group_matcher(coarse=False))  # type: ignore[operator]
    return [groups[block] for block in sorted(groups)]


def classifiers_of(trunk: nn.Module) -> tuple[str, ...]:
    """Modules that are classifiers in timm's own weights of this architecture."""
    names = getattr(trunk, "pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def checkpoint_timm(trunk: nn.Module) -> bool:
    try:
        trunk.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AssertionError, AttributeError):
        return False
    return True


def fit_timm(trunk: nn.Module, state: State) -> State:
    """The architecture's own filter of timm: old names, other libraries' names, other resolutions."""
    if is_efficientnet_pytorch(state):
        state = to_timm_names(state, trunk)
    own_filter = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    # a filter may stumble over a file of another architecture; what then does not fit is named below
    with contextlib.suppress(Exception):
        state = own_filter(dict(state), trunk) if own_filter else state
    return state


TIMM = Adapter(
    encode=encode,
    encode_maps=encode_maps,
    prefix=prefix_of,
    depth=timm_depth,
    fit=fit_timm,
    classifiers=classifiers_of,
    checkpoint=checkpoint_timm,
)
