"""In which numbers losses are computed."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WeightPrecision = Literal["fp32", "bf16"]


def at_least_fp32(values: Tensor) -> Tensor:
    """What comes out of matrix products, as norms, softmax and sums should get it; fp64 stays, gradients are checked
    in it.
    """
    return values if values.dtype == torch.float64 else values.float()


@torch.no_grad()
def round_weights(module: nn.Module, kind: torch.dtype) -> None:
    """Keep a module's parameters in fewer bits, for a module that learns no more.

    Unlike under autocast no product rounds its weights anew, and what stands between products is half as wide, too.
    Buffers stay, and BatchNorm, whose statistics are buffers, with them.
    """
    for part in module.modules():
        if not isinstance(part, _BatchNorm):
            for parameter in part.parameters(recurse=False):
                parameter.data = parameter.data.to(kind)
