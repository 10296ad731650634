"""One optimizer step over this rank's micro-batches, with the gradient of the whole global batch."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Shares
from mmpretrain.core.counter import seed_of, seed_torch
from mmpretrain.core.distributed import gather_objects, global_sum
from mmpretrain.core.fault_points import reach
from mmpretrain.core.phases import phase
from mmpretrain.train.fixed import fixed_order


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
    refused: str | None
    """Why the step was kept from the weights, such as "loss nan"; None: it was taken."""
    wishes: tuple[bool, ...]
    """Which of the wishes some rank has."""
    faults: int
    """Samples, over all ranks, that could not be used and were replaced."""
    suspects: tuple[str, ...] = ()
    """Keys of the samples that a refused step may be blamed on."""

    @property
    def applied(self) -> bool:
        """Whether the weights moved."""
        return self.refused is None


def train_step(
    engine: StepEngine,
    micro_batches: Sequence[Batch],
    seed: int,
    wishes: Sequence[bool] = (),
    complaint: Callable[[float], str | None] = lambda loss: None,
    fixed: bool = False,
) -> StepResult:
    """Forward, backward and update; a non-finite loss or gradient on any rank makes all ranks skip.

    Args:
        micro_batches: this rank's rows of the global batch.
        seed: with a micro-batch's first position it keys dropout, whichever rank draws it.
        wishes: of this rank, such as to stop; the result says of each whether any rank has it.
        complaint: what is wrong with the full batch's loss, if anything: then all ranks skip.
        fixed: sum in an order that does not depend on the number of ranks.
    """
    # from the processor's copy: a look at a GPU's would wait for all that it still has to do
    seeds = [seed_of(seed, int(batch.positions_B[0])) for batch in micro_batches]
    batches = [batch.to(engine.device) for batch in micro_batches]
    with phase("forward"):
        counts = global_sum(torch.stack([engine.module.count(batch) for batch in batches]).sum(dim=0).to(engine.device))
    run = fixed_order if fixed else _cached if len(batches) > 1 and engine.module.caches else _live
    parts = run(engine, batches, counts, seeds)
    with phase("step"):
        shares = functools.reduce(Shares.plus, parts)
        faults = sum(len(batch.faults) for batch in micro_batches)
        metrics, agreed, faults = _agree(shares, wishes, faults)
        loss = metrics["loss"]
        refused = complaint(loss) if math.isfinite(loss) else f"loss {loss}"
        if refused:
            engine.skip()
            norm = math.nan
        else:
            norm = engine.step()
            refused = None if math.isfinite(norm) else f"gradient norm {norm}"
        suspects = _suspects(micro_batches, parts) if refused else ()
    return StepResult(metrics=metrics, grad_norm=norm, refused=refused, wishes=agreed, faults=faults, suspects=suspects)


def _suspects(micro_batches: Sequence[Batch], parts: Sequence[Shares]) -> tuple[str, ...]:
    """Keys of the micro-batches, over all ranks, whose shares are not finite; of all where none stands out."""
    bad = [not math.isfinite(float(part.total)) for part in parts[-len(micro_batches) :]]
    # a step in fixed order gives the shares of all parts as one
    keys = [key for batch, is_bad in zip(micro_batches, bad, strict=len(parts) > 1) if is_bad for key in batch.keys]
    found = gather_objects((keys, [key for batch in micro_batches for key in batch.keys]))
    blamed = [key for keys, _ in found for key in keys]
    return tuple(blamed or [key for _, every in found for key in every])


def _live(engine: StepEngine, batches: list[Batch], counts: Tensor, seeds: list[int]) -> list[Shares]:
    """Each micro-batch by itself: all rows at once, or objectives whose rows do not know each other."""
    parts = []
    for micro, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
        last = micro == len(batches) - 1
        seed_torch(seed, engine.device)
        with phase("forward"):
            shares: Shares = engine.forward("live", batch, counts, sync=last)
        shares = _backward(engine, shares, shares.total, last)
        parts.append(shares)
    return parts


def _cached(engine: StepEngine, batches: list[Batch], counts: Tensor, seeds: list[int]) -> list[Shares]:
    """Features of all micro-batches first, then each again with its part of the full batch's gradient."""
    features = []
    with phase("forward"):
        for batch, seed in zip(batches, seeds, strict=True):
            seed_torch(seed, engine.device)
            features.append(engine.forward("embed", batch, sync=False))
        shares, cached = engine.forward("loss", features, counts, sync=False)
    parts = [shares]
    for micro, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
        last = micro == len(batches) - 1
        seed_torch(seed, engine.device)  # the same dropout as before
        with phase("forward"):
            total, local = engine.forward("replay", batch, cached, micro, counts, sync=last)
        parts.append(_backward(engine, local, total, last))
    return parts


def _backward(engine: StepEngine, shares: Shares, total: Tensor, last: bool) -> Shares:
    """Backward of a micro-batch; returns its shares without their graph."""
    if wrong := reach("loss"):
        total = total * float(wrong)
        shares = shares._replace(total=total)
    with phase("backward"):
        engine.backward(total, sync=last)
    return shares._replace(total=shares.total.detach())


def _agree(shares: Shares, wishes: Sequence[bool], faults: int) -> tuple[dict[str, float], tuple[bool, ...], int]:
    """Sums over ranks of loss, metrics, wishes and replaced samples, in one exchange."""
    numbers = {"loss": shares.total.detach(), **shares.metrics}
    flags = [shares.total.new_tensor(float(flag), dtype=torch.float64) for flag in (faults, *wishes)]
    sums = global_sum(torch.stack([*(value.double() for value in numbers.values()), *flags])).tolist()
    values, (replaced, *wished) = sums[: len(numbers)], sums[len(numbers) :]
    return dict(zip(numbers, values, strict=True)), tuple(wish > 0 for wish in wished), int(replaced)
