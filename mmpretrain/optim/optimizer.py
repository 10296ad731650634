"""AdamW with decay on matrices only."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from mmpretrain.core.rates import Rate
from mmpretrain.core.settings import settings
from mmpretrain.optim.schedule import Cosine

NO_RATES: Mapping[str, Rate] = {}


@settings
class Optim:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), its schedule, clipping and weight average."""

    schedule: Cosine = field(default_factory=Cosine)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    """Decay of the first and second moment."""
    eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the root of the second moment."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    """On parameters with two or more dimensions; norms, biases and temperatures have none."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest global gradient norm; None: no clipping."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential average of the weights, used for evaluation; None: no average."""

    def build(self, module: nn.Module, rates: Mapping[str, Rate] = NO_RATES) -> torch.optim.AdamW:
        """Args: rates: of weights that do not learn as the schedule says, by name."""
        groups = decay_groups(module, self.weight_decay, rates)
        return torch.optim.AdamW(groups, lr=self.schedule.rate, betas=self.betas, eps=self.eps, fused=True)


def decay_groups(module: nn.Module, weight_decay: float, rates: Mapping[str, Rate] = NO_RATES) -> list[dict]:
    """Parameter groups: `decay` for matrices and kernels, `plain` for the rest, each again by rate; frozen ones in
    none.
    """
    groups: dict[tuple[str, Rate], dict] = {}
    for kind in ("decay", "plain"):
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad or (parameter.ndim >= 2) != (kind == "decay"):
                continue
            rate = rates.get(name, Rate())
            decay = weight_decay if kind == "decay" else 0.0
            new: dict[str, Any] = {"name": kind, "params": [], "names": [], "weight_decay": decay, "rate": tuple(rate)}
            group = groups.setdefault((kind, rate), new)
            group["params"].append(parameter)
            group["names"].append(name)
    return list(groups.values())
