"""What each engine holds of weights, gradients and optimizer state, moment by moment of a step.

All numbers are fp32, 4 bytes: precision changes matrix products alone. ZeRO's accounts follow DeepSpeed 0.19 as
`engines.deepspeed` configures it; nothing of it is imported.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence

from mmpretrain.planning.walk import Weight

FP32 = 4
MOMENTS = 2
Held = Counter[str]
"""Bytes by weights, gradients, optimizer, average and buffers."""


class Account(ABC):
    """The books of one rank.

    The methods that follow a step yield whenever something has changed: bytes that are needed for this moment alone.
    """

    @abstractmethod
    def held(self) -> Held:
        """What there is at this moment."""

    def enter(self, phase: str) -> None:  # noqa: B027  # only ZeRO-3 does anything
        """A forward pass begins."""

    def turn(self) -> None:  # noqa: B027
        """A forward pass has ended."""

    def ready(self, weight: Weight, final: bool) -> Iterator[int]:
        """A gradient of this micro-batch is complete; `final`: no further micro-batch follows in this step."""
        yield 0

    def close(self, final: bool) -> Iterator[int]:
        """A backward pass has ended."""
        yield 0

    def step(self) -> Iterator[int]:
        """The optimizer takes its step."""
        yield 0


def numel(weights: Sequence[Weight]) -> int:
    return sum(weight.numel for weight in weights)


class Single(Account):
    """One process: whole weights; a gradient from when it is ready to the end of the step."""

    def __init__(self, weights: Sequence[Weight], averages: bool) -> None:
        trainable = numel([weight for weight in weights if weight.trainable])
        self._standing = Held(
            weights=FP32 * numel(weights),
            optimizer=FP32 * MOMENTS * trainable,
            average=FP32 * trainable * averages,
        )
        self._ready: dict[str, int] = {}

    def held(self) -> Held:
        return self._standing + Held(gradients=FP32 * sum(self._ready.values()))

    def ready(self, weight: Weight, final: bool) -> Iterator[int]:
        self._ready[weight.name] = weight.numel
        yield 0


class Ddp(Single):
    """The same, with buckets that hold all gradients all the time; those of earlier micro-batches stand beside them."""

    def __init__(self, weights: Sequence[Weight], averages: bool) -> None:
        super().__init__(weights, averages)
        self._buckets = FP32 * numel([weight for weight in weights if weight.trainable])

    def held(self) -> Held:
        return super().held() + Held(gradients=self._buckets)

    def ready(self, weight: Weight, final: bool) -> Iterator[int]:
        if final:  # copied into its bucket, of which it is a view from now on
            self._ready.pop(weight.name, None)
        else:
            self._ready[weight.name] = weight.numel
        yield 0
