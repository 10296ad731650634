"""Layer-CAM: activations weighed by their own positive gradients, over several scales."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.explain.activations import activation_maps
from mmpretrain.explain.base import Target, enlarged, from_zero, tower_of
from mmpretrain.explain.layers import MapLayer, map_layers


@settings
class LayerCam:
    """Jiang et al. 2021 (IEEE TIP 30); each scale's map has its most as 1, and their mean is taken."""

    kind: Literal["layer_cam"] = "layer_cam"
    least_side: Annotated[int, Field(gt=0)] = 4
    """Places a side that a layer has at least."""
    stride: Annotated[int, Field(gt=0)] = 4
    """Pixels that a place of a layer stands for at least."""

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        tower = tower_of(model)
        layers = self.layers(map_layers(tower), tower.size)
        maps = activation_maps(model, target, image_CHW, layers, by_positive)
        return from_zero(torch.stack([from_zero(enlarged(each_SS, image_CHW)) for each_SS in maps]).mean(dim=0))

    def layers(self, layers: list[MapLayer], size: int) -> list[MapLayer]:
        """Those between; the last where there are none."""
        between = [each for each in layers if each.side >= self.least_side and each.side * self.stride <= size]
        return between or layers[-1:]


def by_positive(activations_KSS: Tensor, gradients_KSS: Tensor) -> Tensor:
    return (gradients_KSS.clamp(min=0) * activations_KSS).sum(dim=0).clamp(min=0)
