"""BatchNorm in towers whose rows must not know each other: GroupNorm in its place, or statistics that are fixed."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.towers.image_tower import ImageTower

CHANNELS = 16
"""Channels in a group of GroupNorm, at least."""


class GroupNorm(nn.GroupNorm):
    """GroupNorm with the names of the BatchNorm that it stands for, and the activation that timm fuses into that."""

    def __init__(self, replaced: _BatchNorm) -> None:
        super().__init__(_groups(replaced.num_features), replaced.num_features)
        self.drop = getattr(replaced, "drop", nn.Identity())
        self.act = getattr(replaced, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


def _groups(channels: int) -> int:
    """The most groups of equal size with `CHANNELS` channels or more."""
    return next(groups for groups in range(max(1, channels // CHANNELS), 0, -1) if channels % groups == 0)


def group_norms(trunk: nn.Module) -> None:
    """GroupNorm wherever BatchNorm was."""
    for module in list(trunk.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, GroupNorm(child))


@torch.no_grad()
def measure_statistics(tower: ImageTower, batches: list[Tensor]) -> None:
    """Give frozen BatchNorm the mean and variance that `batches` (uint8, BCHW) have at initialisation.

    With statistics that are fixed but right at the start, a trunk trains from scratch and yet no row depends on
    its batch mates: the data-dependent initialisation of Krähenbühl et al. 2016 (arXiv 1511.06856), in the
    places where the architecture has its BatchNorm.
    """
    norms = tower.batch_norms()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for images_BCHW in batches:
        tower(images_BCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
