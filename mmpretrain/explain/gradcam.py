"""Grad-CAM: channels of a late layer, weighed by the mean of their gradients."""

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.explain.activations import activation_maps
from mmpretrain.explain.base import Target, enlarged, from_zero, tower_of
from mmpretrain.explain.layers import MapLayer, map_layers


@settings
class GradCam:
    """Selvaraju et al. 2017, arXiv 1610.02391."""

    kind: Literal["gradcam"] = "gradcam"
    least_side: Annotated[int, Field(gt=0)] = 4
    """Places a side that the layer has at least: the last such layer is taken, or the finest there is."""

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        layer = self.layer(map_layers(tower_of(model)))
        (map_SS,) = activation_maps(model, target, image_CHW, [layer], by_channel)
        return from_zero(enlarged(map_SS, image_CHW))

    def layer(self, layers: list[MapLayer]) -> MapLayer:
        """Args: layers: from the finest on."""
        fine = [layer for layer in layers if layer.side >= self.least_side]
        return fine[-1] if fine else layers[0]


def by_channel(activations_KSS: Tensor, gradients_KSS: Tensor) -> Tensor:
    """A channel counts everywhere as it does on average. What speaks against the target is cut before it is enlarged,
    as captum has it.
    """
    return (gradients_KSS.mean(dim=(1, 2), keepdim=True) * activations_KSS).sum(dim=0).clamp(min=0)
