"""AdamW with decay on matrices only."""

from dataclasses import field
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from mmpretrain.core.settings import settings
from mmpretrain.optim.schedule import Cosine


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

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        groups = decay_groups(module, self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.schedule.rate, betas=self.betas, eps=self.eps, fused=True)


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups by name: `decay` for matrices and kernels, `plain` for the rest; frozen ones in none."""
    trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [(name, p) for name, p in trainable if p.ndim >= 2]
    others = [(name, p) for name, p in trainable if p.ndim < 2]
    return [
        {"name": group, "params": [p for _, p in members], "names": [n for n, _ in members], "weight_decay": decay}
        for group, members, decay in (("decay", matrices, weight_decay), ("plain", others, 0.0))
        if members
    ]
