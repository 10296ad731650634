"""In which numbers losses are computed."""

import torch
from torch import Tensor


def at_least_fp32(values: Tensor) -> Tensor:
    """What comes out of matrix products, as norms, softmax and sums should get it; fp64 stays, gradients are checked
    in it.
    """
    return values if values.dtype == torch.float64 else values.float()
