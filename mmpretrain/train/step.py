"""One optimizer step over this rank's micro-batches, with the gradient of the whole global batch."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Shares
from mmpretrain.core.counter import seed_of, seed_torch
from mmpretrain.core.distributed import global_sum


class StepEngine(Protocol):
    """The verbs of the engine contract that a step needs."""

    device: torch.device
    module: Any

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any: ...
    def backward(self, share: Tensor, sync: bool = True) -> None: ...
    def step(self) -> float: ...
    def skip(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step did, equal on all ranks."""

    metrics: dict[str, float]
    """Sums over all shares; `loss` is the full-batch loss."""
    grad_norm: float
    """Before clipping."""
    applied: bool
    """False when a non-finite loss or gradient kept the step from the weights."""
    stop: bool
    """Some rank was asked to stop."""
    faults: int
    """Samples, over all ranks, that could not be used and were replaced."""


def train_step(engine: StepEngine, micro_batches: Sequence[Batch], seed: int, stop: bool = False) -> StepResult:
    """Forward, backward and update; a non-finite loss or gradient on any rank makes all ranks skip.

    Args:
        micro_batches: this rank's rows of the global batch.
        seed: with a micro-batch's first position it keys dropout, whichever rank draws it.
        stop: this rank was asked to stop; the result says whether any was.
    """
    # from the processor's copy: a look at a GPU's would wait for all that it still has to do
    seeds = [seed_of(seed, int(batch.positions_B[0])) for batch in micro_batches]
    batches = [batch.to(engine.device) for batch in micro_batches]
    counts = global_sum(torch.stack([engine.module.count(batch) for batch in batches]).sum(dim=0).to(engine.device))
    run = _cached if len(batches) > 1 and engine.module.caches else _live
    shares = run(engine, batches, counts, seeds)
    metrics, stop, faults = _agree(shares, stop, sum(len(batch.faults) for batch in micro_batches))
    if not math.isfinite(metrics["loss"]):
        engine.skip()
        return StepResult(metrics=metrics, grad_norm=math.nan, applied=False, stop=stop, faults=faults)
    norm = engine.step()
    return StepResult(metrics=metrics, grad_norm=norm, applied=math.isfinite(norm), stop=stop, faults=faults)


def _live(engine: StepEngine, batches: list[Batch], counts: Tensor, seeds: list[int]) -> Shares:
    """Each micro-batch by itself: all rows at once, or objectives whose rows do not know each other."""
    parts = []
    for micro, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
        last = micro == len(batches) - 1
        seed_torch(seed, engine.device)
        shares: Shares = engine.forward("live", batch, counts, sync=last)
        engine.backward(shares.total, sync=last)
        parts.append(shares._replace(total=shares.total.detach()))
    return functools.reduce(Shares.plus, parts)


def _cached(engine: StepEngine, batches: list[Batch], counts: Tensor, seeds: list[int]) -> Shares:
    """Features of all micro-batches first, then each again with its part of the full batch's gradient."""
    features = []
    for batch, seed in zip(batches, seeds, strict=True):
        seed_torch(seed, engine.device)
        features.append(engine.forward("embed", batch, sync=False))
    shares: Shares
    shares, cached = engine.forward("loss", features, counts, sync=False)
    for micro, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
        last = micro == len(batches) - 1
        seed_torch(seed, engine.device)  # the same dropout as before
        total, local = engine.forward("replay", batch, cached, micro, counts, sync=last)
        engine.backward(total, sync=last)
        shares = shares.plus(local)
    return shares


def _agree(shares: Shares, stop: bool, faults: int) -> tuple[dict[str, float], bool, int]:
    """Sums over ranks of loss, metrics, the wish to stop and replaced samples, in one exchange."""
    numbers = {"loss": shares.total.detach(), **shares.metrics}
    flags = [shares.total.new_tensor(float(flag), dtype=torch.float64) for flag in (stop, faults)]
    *values, stops, replaced = global_sum(
        torch.stack([*(value.double() for value in numbers.values()), *flags])
    ).tolist()
    return dict(zip(numbers, values, strict=True)), stops > 0, int(replaced)
