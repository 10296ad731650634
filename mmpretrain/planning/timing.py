"""How long a step takes on a machine that is described by a few numbers: a simulation, and what it leaves out.

A rank computes, exchanges features at one point, exchanges gradients bucket by bucket as they become ready, updates its
weights, and waits for data where the loader is slower. Left out: kernels that are short of work, stragglers, other
traffic on the network, evaluation and checkpoints.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.planning.accounts import FP32
from mmpretrain.planning.cut import Cut
from mmpretrain.planning.ledger import Span
from mmpretrain.planning.links import Network, seconds_of
from mmpretrain.planning.traffic import Traffic, traffic_of, trainable
from mmpretrain.planning.walk import Walk

UPDATE = 10
"""Numbers of fp32 that clipping and AdamW read and write for each weight: the gradient's norm (1), its scaling (2), and
gradient, weight and two moments in, weight and moments out (7)."""
AVERAGE = 3
"""The same for an average of the weights."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a rank runs on."""

    rate: float
    """Operations a second that the towers' products reach, in the engine's precision."""
    exact_rate: float
    """The same of the losses over all pairs, which are in fp32 under every precision."""
    bandwidth: float | None
    """Bytes a second of memory; None: updates are part of `overhead`."""
    network: Network
    overlaps: bool
    """Whether ranks exchange while they compute; on processors both take the same cores."""
    overhead: float = 0.0
    """Seconds of a step that do not depend on its rows."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """What brings one rank its rows."""

    rate: float
    """Samples a second."""
    beside: bool
    """It works while the rank computes; else in the rank's own process (data.workers=0)."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one step, one after another."""

    compute: float
    features: float
    """Exchange of features and of what objectives count."""
    gradients: float
    """Exchange of gradients that computing does not hide."""
    weights: float
    """The same of weights."""
    update: float
    data: float
    """Wait for the loader."""

    @property
    def total(self) -> float:
        return self.compute + self.features + self.gradients + self.weights + self.update + self.data


def step_time(
    walked: Walk, engine: Any, cut: Cut, machine: Machine, averages: bool = False, loader: Loader | None = None
) -> Timing:
    """Of one step.

    Args:
        averages: the engine keeps an average of the weights.
        loader: None: it delivers as many as are asked for.
    """
    ranks = cut.ranks
    compute = compute_time(walked, machine)
    features = sum(seconds_of(each.kind, each.bytes, ranks, machine.network) for each in walked.exchanges)
    waits = {"gradients": 0.0, "weights": 0.0}
    for traffic in traffic_of(engine, walked, cut.micros, ranks):
        waits[traffic.what] += wait_for(traffic, walked, cut, machine)
    share = ranks if isinstance(engine, DeepSpeed) else 1
    numbers = (UPDATE + AVERAGE * averages) * trainable(walked) / share
    update = FP32 * numbers / machine.bandwidth if machine.bandwidth else 0.0
    busy = compute + features + waits["gradients"] + waits["weights"] + update
    reading = cut.micros * cut.rows / loader.rate if loader else 0.0
    data = max(0.0, reading - busy) if loader and loader.beside else reading
    return Timing(compute=compute, features=features, **waits, update=update, data=data)


def compute_time(walked: Walk, machine: Machine) -> float:
    """Seconds in which a rank computes."""
    exact = sum(walked.flops.get(part, 0) for part in walked.exact)
    return (sum(walked.flops.values()) - exact) / machine.rate + exact / machine.exact_rate + machine.overhead


def wait_for(traffic: Traffic, walked: Walk, cut: Cut, machine: Machine) -> float:
    """Seconds in which a rank has nothing to do but to exchange."""
    pieces = -(-traffic.bytes // traffic.piece)
    whole = seconds_of(traffic.kind, traffic.bytes, cut.ranks, machine.network, pieces)
    if not traffic.hidden or not machine.overlaps:
        return whole
    if traffic.what == "weights":  # fetched ahead, all the time
        return max(0.0, whole - compute_time(walked, machine))
    passes = cut.micros if traffic.kind == "reduce_scatter" else 1
    scale = traffic.bytes / passes / max(1, sum(size for _, size in readiness(walked, machine)))

    def cost(size: float) -> float:
        return seconds_of(traffic.kind, round(size * scale), cut.ranks, machine.network)

    ends = sum(span.flops for span in final_backward(walked)) / machine.rate
    return passes * tail(readiness(walked, machine), ends, traffic.piece, cost)


def final_backward(walked: Walk) -> Iterator[Span]:
    return (span for span in walked.spans if span.phase == "backward" and span.final)


def readiness(walked: Walk, machine: Machine) -> Iterator[tuple[float, int]]:
    """(seconds after the last backward pass began, bytes) of each gradient."""
    sizes = {weight.name: FP32 * weight.numel for weight in walked.weights}
    done = 0
    for span in final_backward(walked):
        done += span.flops
        if span.gradient:
            yield done / machine.rate, sizes[span.gradient]


def tail(ready: Iterable[tuple[float, int]], ends: float, piece: int, cost: Any) -> float:
    """Seconds from the end of backward until the last bucket is through, one bucket after another.

    Args:
        ready: moments and bytes of gradients, in the order of time.
        ends: moment at which backward ends.
        piece: bytes of a full bucket.
        cost: bytes to seconds.
    """
    free, waiting = 0.0, 0
    for moment, size in ready:
        waiting += size
        if waiting >= piece:
            free, waiting = max(free, moment) + cost(waiting), 0
    if waiting:
        free = max(free, ends) + cost(waiting)
    return max(0.0, free - ends)
