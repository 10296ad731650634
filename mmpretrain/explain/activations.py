"""Class activation maps: what a layer says of each place, weighed by how the target hangs on it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmpretrain.explain.base import Target, at_rest, tower_of, with_graph
from mmpretrain.explain.layers import MapLayer, outputs_of

Weigh = Callable[[Tensor, Tensor], Tensor]
"""(activations_KSS, gradients_KSS) -> map_SS, below 0 where something speaks against the target."""


def activation_maps(
    model: object, target: Target, image_CHW: Tensor, layers: Sequence[MapLayer], weigh: Weigh
) -> list[Tensor]:
    """A map of each layer, on its own grid."""
    tower = tower_of(model)
    with at_rest(model if isinstance(model, torch.nn.Module) else tower), outputs_of(layers) as outputs:
        score = target.score(with_graph(image_CHW)).sum()
        gradients = torch.autograd.grad(score, outputs)
    return [
        weigh(layer.places(output)[0].detach(), layer.places(gradient)[0])
        for layer, output, gradient in zip(layers, outputs, gradients, strict=True)
    ]
