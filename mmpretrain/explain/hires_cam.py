"""HiResCAM: gradient times activation, place by place, in an early layer."""

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.explain.activations import activation_maps
from mmpretrain.explain.base import Target, enlarged, from_zero, tower_of
from mmpretrain.explain.layers import MapLayer, map_layers


@settings
class HiResCam:
    """Draelos and Carin 2020, arXiv 2011.08891, which shows only places that the target really hangs on."""

    kind: Literal["hires_cam"] = "hires_cam"
    stride: Annotated[int, Field(gt=0)] = 4
    """Pixels that a place of the layer stands for at least: the finest such layer is taken, or the last there is."""

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        tower = tower_of(model)
        layer = self.layer(map_layers(tower), tower.size)
        (map_SS,) = activation_maps(model, target, image_CHW, [layer], by_place)
        return from_zero(enlarged(map_SS, image_CHW))

    def layer(self, layers: list[MapLayer], size: int) -> MapLayer:
        """Args: layers: from the finest on."""
        return next((layer for layer in layers if layer.side * self.stride <= size), layers[-1])


def by_place(activations_KSS: Tensor, gradients_KSS: Tensor) -> Tensor:
    return (gradients_KSS * activations_KSS).sum(dim=0).clamp(min=0)
