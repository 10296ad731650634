"""A step whose rounding does not depend on how many ranks share it.

The global batch is always cut into the same parts. Each part's gradient is computed by itself, the global objectives
are computed from all parts' features on every rank, and all sums are taken in the order of parts. So the weights end
bit for bit the same on 1, 2 and 4 ranks with equally many threads each; what it costs is an exchange of every part's
gradient, and the global objectives once on every rank.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features, Shares
from mmpretrain.core.counter import seed_torch
from mmpretrain.core.distributed import alone, gather, world
from mmpretrain.core.phases import phase


def fixed_order(engine: Any, batches: list[Batch], counts: Tensor, seeds: list[int]) -> list[Shares]:
    """Forward and backward of this rank's parts; leaves the full batch's gradient in the module, on every rank.

    Returns the full batch's shares on the main rank, and zeros on the others, because ranks are summed.
    """
    module, first = engine.module, world().rank * len(batches)
    whole = _global_objectives(engine, batches, counts, seeds) if module.caches else None
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients, parts = [], []
    for number, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
        seed_torch(seed, engine.device)  # the same dropout as before
        with phase("forward"), alone():
            if whole is None:
                shares = module("live", batch, counts)
                total = shares.total
            else:
                total, shares = module("replay", batch, whole[1], first + number, counts)
        with phase("backward"), alone():
            total.backward()
        gradients.append(_take(parameters))
        parts.append(shares)
    for number, parameter in enumerate(parameters):
        parameter.grad = in_order(torch.stack([each[number] for each in gradients]))
    joined = _sum(parts)
    joined = joined if whole is None else whole[0].plus(joined)
    return [joined if world().is_main else _nothing(joined)]


def _global_objectives(engine: Any, batches: list[Batch], counts: Tensor, seeds: list[int]) -> tuple[Shares, Any]:
    """Shares and cached gradients of the objectives over the features of all parts, as one process sees them."""
    own = []
    with phase("forward"):
        for batch, seed in zip(batches, seeds, strict=True):
            seed_torch(seed, engine.device)
            own.append(engine.module("embed", batch))
        every = _gather(own)
        with alone():
            found: tuple[Shares, Any] = engine.module("loss", every, counts)
    return found


def _gather(parts: Sequence[Features]) -> list[Features]:
    """The parts of all ranks, in order."""
    joined = Features.join(parts)
    rows = len(joined.image_BE) // len(parts)
    whole = _map(joined, lambda tensor: gather(tensor.contiguous()))
    count = len(whole.image_BE) // rows
    return [_map(whole, lambda tensor, n=n: tensor[n * rows : (n + 1) * rows]) for n in range(count)]  # type: ignore[misc]


def _map(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    values: list[Any] = [tuple(map(change, value)) if isinstance(value, tuple) else change(value) for value in features]
    return Features(*values)


def _take(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients, taken out of the module."""
    taken = []
    for parameter in parameters:
        taken.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        parameter.grad = None
    return taken


def in_order(own: Tensor) -> Tensor:
    """The sum over the parts of all ranks (first dimension of each rank's), one after the other."""
    # contiguous on one rank too: the norm of a gradient is summed in the order of its memory
    every = gather(own.contiguous())
    return functools.reduce(torch.add, every.unbind())


def _sum(parts: Sequence[Shares]) -> Shares:
    """Sums over the parts of all ranks, the same on every rank."""
    names = list(parts[0].metrics)
    own = torch.stack([torch.stack([part.total.detach(), *(part.metrics[name] for name in names)]) for part in parts])
    total, *values = in_order(own.double()).unbind()
    return Shares(total=total, metrics=dict(zip(names, values, strict=True)))


def _nothing(shares: Shares) -> Shares:
    zeros = {name: torch.zeros_like(value) for name, value in shares.metrics.items()}
    return Shares(total=torch.zeros_like(shares.total), metrics=zeros)
