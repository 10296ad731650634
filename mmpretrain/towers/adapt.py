"""Parts of a pretrained tower that stay as they are."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.errors import ConfigError


def freeze(module: nn.Module, depth: Sequence[Sequence[str]], blocks: int | Literal["all"], setting: str) -> None:
    """Take the gradient from the parameters of the first `blocks` blocks.

    Args:
        depth: names of the parameters of each block, from the input on; the first is the stem with its embeddings.
        setting: the key that asked for it, for the message.

    Raises:
        ConfigError: there are fewer blocks.
    """
    if blocks == "all":
        module.requires_grad_(False)
        return
    if blocks > len(depth):
        raise ConfigError(f"{setting}: there are {len(depth)} blocks with the stem, not {blocks}; or say all")
    for names in depth[:blocks]:
        for name in names:
            module.get_parameter(name).requires_grad_(False)


def frozen_norms(module: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers whose scale and shift are frozen: their statistics must not move either."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    return [norm for norm in norms if norm.affine and not any(p.requires_grad for p in norm.parameters())]
