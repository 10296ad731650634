"""Low-rank changes of matrices that themselves stay as they are (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

import re
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ORIGINAL = "original"
_PARTS = re.compile(r"(?P<module>.*)\.parametrizations\.(?P<weight>\w+)\.(?P<part>original|0\.(?:down_RI|up_OR))")


class LowRank(nn.Module):
    """A weight plus scale * up @ down; it begins at zero change."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.scale = scale
        self.down_RI = nn.Parameter(torch.empty(rank, columns))
        self.up_OR = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down_RI, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up_OR @ self.down_RI).to(weight.dtype).view_as(weight)


def add_low_rank(module: nn.Module, weights: Collection[str], rank: int, scale: float) -> list[str]:
    """Give matrices and kernels a low-rank change; returns the names of what can be learned.

    Args:
        weights: names of parameters; those of linear layers, attention and dense convolutions get one.
    """
    found = []
    for name in weights:
        owner_name, _, own_name = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        weight = getattr(owner, own_name)
        if not takes_low_rank(owner, own_name):
            continue
        trains = weight.requires_grad
        parametrize.register_parametrization(
            owner, own_name, LowRank(weight, min(rank, *weight.flatten(1).shape), scale)
        )
        owner.parametrizations[own_name].original.requires_grad_(trains)  # type: ignore[union-attr, index]
        found += [f"{owner_name}.parametrizations.{own_name}.0.{part}" for part in ("down_RI", "up_OR")]
    return found


def takes_low_rank(owner: nn.Module, name: str) -> bool:
    """Whether the parameter is a matrix that inputs are multiplied by."""
    if isinstance(owner, nn.MultiheadAttention):
        return name == "in_proj_weight"
    dense = isinstance(owner, nn.Linear) or (isinstance(owner, nn.Conv2d) and owner.groups == 1)
    return dense and name == "weight"


def merged(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Tensors by name with each low-rank change added to its weight, under the names of a model without any."""
    parts: dict[str, dict[str, Tensor]] = {}
    plain = {}
    for name, tensor in tensors.items():
        match = _PARTS.fullmatch(name)
        if match:
            parts.setdefault(f"{match['module']}.{match['weight']}", {})[match["part"]] = tensor
        else:
            plain[name] = tensor
    for name, part in parts.items():
        weight = part[ORIGINAL]
        plain[name] = weight + scale * (part["0.up_OR"] @ part["0.down_RI"]).view_as(weight)
    return plain
