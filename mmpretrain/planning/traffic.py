"""What engines exchange in a step besides the features: gradients, and under ZeRO weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.planning.accounts import FP32, numel
from mmpretrain.planning.walk import Walk
from mmpretrain.planning.zero_accounts import optimizer_groups

Kind = Literal["allreduce", "allgather", "reduce_scatter"]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes of one kind of collective in one step, of the whole that is summed or put together."""

    kind: Kind
    what: Literal["gradients", "weights"]
    bytes: int
    hidden: bool
    """It goes on while the rank computes."""
    piece: int
    """Bytes of one collective at most."""


def traffic_of(engine: Any, walked: Walk, micros: int, ranks: int) -> list[Traffic]:
    """What crosses the wire under an engine's settings; nothing for one rank."""
    if ranks == 1:
        return []
    if isinstance(engine, DeepSpeed):
        return zero3(engine, walked, micros, ranks) if engine.stage == 3 else zero12(engine, walked, micros, ranks)
    assert isinstance(engine, Ddp)
    gradients = FP32 * trainable(walked)
    return [Traffic(kind="allreduce", what="gradients", bytes=gradients, hidden=True, piece=engine.bucket_mb << 20)]


def trainable(walked: Walk) -> int:
    return numel([weight for weight in walked.weights if weight.trainable])


def zero12(engine: DeepSpeed, walked: Walk, micros: int, ranks: int) -> list[Traffic]:
    """DeepSpeed's first two stages sum whole gradients on every rank (use_multi_rank_bucket_allreduce), stage 2 those
    of every micro-batch; then each rank hands out its share of the weights.
    """
    times = micros if engine.stage == 2 else 1
    groups = [numel(group) for group in optimizer_groups(walked.weights)]
    padded = sum(math.ceil(group / (2 * ranks)) * 2 * ranks for group in groups)
    piece = FP32 * engine.bucket_elements
    return [
        Traffic(kind="allreduce", what="gradients", bytes=times * FP32 * trainable(walked), hidden=False, piece=piece),
        Traffic(kind="allgather", what="weights", bytes=FP32 * padded, hidden=False, piece=FP32 * max(groups)),
    ]


def zero3(engine: DeepSpeed, walked: Walk, micros: int, ranks: int) -> list[Traffic]:
    """Gradients of every micro-batch are summed by shares; weights are gathered for every forward pass.

    Where features are cached, passes differ, DeepSpeed does not know what comes next, and gathers every weight again
    for every backward pass that reaches it: those of frozen blocks, which stand first in their tower, it never reaches.
    """
    small = [weight for weight in walked.weights if weight.numel < engine.persistence_threshold]
    large = [weight for weight in walked.weights if weight.numel >= engine.persistence_threshold]
    cached = any(span.phase == "embed" for span in walked.spans)
    times_large, times_small = (2 * micros + 1, 3) if cached else (micros, 1)
    weights = times_large * shares(large, ranks) + times_small * shares(small, ranks)
    weights += micros * cached * shares([weight for weight in large if weight.trainable], ranks)
    gradients = micros * shares([weight for weight in walked.weights if weight.trainable], ranks)
    piece = FP32 * engine.bucket_elements
    return [
        Traffic(kind="reduce_scatter", what="gradients", bytes=FP32 * gradients, hidden=True, piece=piece),
        Traffic(kind="allgather", what="weights", bytes=FP32 * weights, hidden=not cached, piece=piece),
    ]


def shares(weights: Sequence[Any], ranks: int) -> int:
    """Elements of all ranks' equal shares, each weight by itself."""
    return sum(math.ceil(weight.numel / ranks) * ranks for weight in weights)
