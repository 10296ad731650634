"""Which modules of an image tower give a map of places, found by a look at what each of them says of a picture."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.explain.base import at_rest
from mmpretrain.towers.image_tower import ImageTower

STAGE_DEPTH = 1
"""Dots in the name of a stage or block of a pyramid at most; what lies deeper is a part of one."""


@dataclass(frozen=True, kw_only=True)
class MapLayer:
    """A module whose output is a map of the picture."""

    name: str
    module: nn.Module
    side: int
    channels: int
    prefix: int
    """Tokens in front of the places, where it gives tokens."""

    def places(self, output: Tensor) -> Tensor:
        """What it gave as B x channels x side x side."""
        if output.ndim == 3:
            return output[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))
        return output if output.shape[1] == self.channels else output.permute(0, 3, 1, 2)


def map_layers(tower: ImageTower) -> list[MapLayer]:
    """One of each scale from the finest on: the last module whose places still have a say in what is pooled.

    In a transformer that pools its class token the places behind the last attention have none; there it is the norm in
    front of that attention.

    Raises:
        ConfigError: the tower pools its tokens itself.
    """
    found: dict[int, MapLayer] = {}
    for layer, gradient in _candidates(tower):
        if layer.places(gradient).any():
            found[layer.side] = layer
    if not found:
        raise ConfigError(
            f"{type(tower.trunk).__name__} gives no map of places; use --method occlusion, which asks only for scores"
        )
    return [found[side] for side in sorted(found, reverse=True)]


def _candidates(tower: ImageTower) -> Iterator[tuple[MapLayer, Tensor]]:
    """Modules in the order in which they ran, with the gradient of something that is pooled."""
    ran: list[tuple[MapLayer, Tensor]] = []
    # timm's trunk inside an open_clip tower has one more dot in its names
    inside = "trunk." if isinstance(getattr(tower.trunk, "trunk", None), nn.Module) else ""

    def keep(name: str, module: nn.Module, given: object, output: object) -> None:
        layer = _layer(name.removeprefix(inside), module, output, tower)
        if layer is not None and isinstance(output, Tensor) and output.requires_grad:
            ran.append((layer, output))

    hooks = [each.register_forward_hook(partial(keep, name)) for name, each in tower.trunk.named_modules() if name]
    try:
        with at_rest(tower):
            pooled_D = tower(_grain(tower.size).requires_grad_())[1][0]
            # not the plain sum, which is the same for all that LayerNorm gives
            wanted = (pooled_D * torch.arange(len(pooled_D), device=pooled_D.device).cos()).sum()
            gradients = torch.autograd.grad(wanted, [each for _, each in ran], allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    yield from ((layer, each) for (layer, _), each in zip(ran, gradients, strict=True) if each is not None)


def _layer(name: str, module: nn.Module, output: object, tower: ImageTower) -> MapLayer | None:
    """What an output is a map of; None for all else."""
    if not isinstance(output, Tensor):
        return None
    side = tower.grid[0]
    if output.ndim == 3 and output.shape[1:] == (tower.prefix + side * side, tower.token_width) and side:
        return MapLayer(name=name, module=module, side=side, channels=tower.token_width, prefix=tower.prefix)
    if output.ndim != 4 or name.count(".") > STAGE_DEPTH:
        return None
    _, first, second, third = output.shape
    if second == third > 1:
        return MapLayer(name=name, module=module, side=second, channels=first, prefix=0)
    if first == second > 1:
        return MapLayer(name=name, module=module, side=first, channels=third, prefix=0)
    return None


def _grain(size: int) -> Tensor:
    """A picture on which nothing is dead: values all over the scale, in no pattern that a tower could miss."""
    return (torch.arange(3 * size * size).view(1, 3, size, size) * 7919 % 251).float()


@contextmanager
def outputs_of(layers: Sequence[MapLayer]) -> Iterator[list[Tensor]]:
    """What the layers give while this is open, in their order, once they ran."""
    kept: list[Tensor] = [torch.empty(0)] * len(layers)

    def keep(place: int, module: nn.Module, given: object, output: Tensor) -> None:
        kept[place] = output

    hooks = [each.module.register_forward_hook(partial(keep, place)) for place, each in enumerate(layers)]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()
