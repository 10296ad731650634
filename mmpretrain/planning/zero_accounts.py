"""What ZeRO holds, moment by moment of a step, as DeepSpeed 0.19 does it: `stage_1_and_2.py` and `stage3.py` there."""

import math
from collections.abc import Iterator, Sequence

from mmpretrain.planning.accounts import FP32, MOMENTS, Account, Held, numel
from mmpretrain.planning.walk import Weight

FP64 = 8
PREFETCH = 50_000_000
"""Elements of weights that stage 3 gathers at a time (prefetch_bucket_size)."""
REUSE = 500_000_000
"""Elements of weights that stage 3 keeps gathered from their forward to their backward pass: DeepSpeed keeps what is
used again within 1e9 elements (max_reuse_distance), there and back."""


class Bucket:
    """Gradients on their way to other ranks.

    Args:
        size: elements.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.inside: list[Weight] = []

    @property
    def elements(self) -> int:
        return numel(self.inside)

    def overflows(self, weight: Weight) -> bool:
        return self.elements + weight.numel > self.size

    def temporary(self) -> int:
        """Bytes of the flat copy that is sent; a gradient that stands alone is sent as it is."""
        return FP32 * self.elements if len(self.inside) > 1 else 0


class Partition:
    """One rank's share of an optimizer group's weights, laid out one after another."""

    def __init__(self, weights: Sequence[Weight], ranks: int, rank: int) -> None:
        # DeepSpeed pads a group so that each rank's share starts at an even element
        self.padded = math.ceil(numel(weights) / (2 * ranks)) * 2 * ranks
        self.size = self.padded // ranks
        start, end, place = self.size * rank, self.size * (rank + 1), 0
        self.inside: dict[str, int] = {}
        """Elements of each weight that belong to this share."""
        self.touched = 0
        """Elements of all weights of which something does."""
        for weight in weights:
            own = min(end, place + weight.numel) - max(start, place)
            if own > 0:
                self.inside[weight.name] = own
                self.touched += weight.numel
            place += weight.numel


def optimizer_groups(weights: Sequence[Weight]) -> list[list[Weight]]:
    """Trainable weights as `optim.decay_groups` divides them."""
    groups = [[each for each in weights if each.trainable and each.decays == decays] for decays in (True, False)]
    return [group for group in groups if group]


def busiest(weights: Sequence[Weight], ranks: int) -> int:
    """The rank whose shares touch most elements of weights."""
    touched = [0] * ranks
    for group in optimizer_groups(weights):
        size, place = Partition(group, ranks, 0).size, 0
        for weight in group:
            for rank in range(place // size, (place + weight.numel - 1) // size + 1):
                touched[rank] += weight.numel
            place += weight.numel
    return touched.index(max(touched))


class Zero12(Account):
    """Stages 1 and 2: whole weights, divided masters and moments, gradients through a bucket to their owners.

    Stage 1 keeps whole gradients up to the last micro-batch; stage 2 only those of its own share. The gradient of a
    weight that belongs to several ranks is kept whole by each of them.

    Args:
        averages: the engine keeps an average of the weights.
        bucket: elements of gradients that are reduced at a time.
        rank: whose books these are.
    """

    def __init__(
        self, weights: Sequence[Weight], averages: bool, stage: int, bucket: int, ranks: int, rank: int
    ) -> None:
        groups = optimizer_groups(weights)
        self._parts = [Partition(group, ranks, rank) for group in groups]
        frozen = numel([weight for weight in weights if not weight.trainable])
        padded, own = sum(part.padded for part in self._parts), sum(part.size for part in self._parts)
        self._standing = Held(
            weights=FP32 * (padded + frozen),
            optimizer=FP32 * (1 + MOMENTS) * own,
            average=FP32 * own * averages,
        )
        self._order = [weight for group in groups for weight in group]
        self._stage = stage
        self._bucket = Bucket(bucket)
        self._has_bucket = False
        self._whole: dict[str, Weight] = {}
        self._shares = 0
        """Buffers for gradients of the own share."""
        self._has_share = False
        """One of them belongs to this micro-batch."""

    def held(self) -> Held:
        share = FP32 * sum(part.touched for part in self._parts)
        whole = FP32 * numel(list(self._whole.values()))
        bucket = FP32 * self._bucket.size * self._has_bucket
        return self._standing + Held(gradients=whole + self._shares * share, buffers=bucket)

    def ready(self, weight: Weight, final: bool) -> Iterator[int]:
        self._has_bucket = True
        self._whole[weight.name] = weight
        if self._stage == 2:
            yield from self._put(weight)
        yield 0

    def _put(self, weight: Weight) -> Iterator[int]:
        if self._bucket.overflows(weight):
            yield from self._flush()
        if weight.numel <= self._bucket.size:
            yield 0  # for a moment it stands there and in the bucket
            self._whole.pop(weight.name)
        self._bucket.inside.append(weight)

    def _flush(self) -> Iterator[int]:
        sent = self._bucket.inside
        yield self._bucket.temporary()
        if any(weight.name in part.inside for weight in sent for part in self._parts) and not self._has_share:
            self._shares, self._has_share = self._shares + 1, True
            yield 0
        for weight in sent:
            self._whole.pop(weight.name, None)
        self._bucket.inside = []

    def close(self, final: bool) -> Iterator[int]:
        if self._stage == 1 and not final:
            return
        for weight in self._order if self._stage == 1 else ():
            yield from self._put(weight)
        yield from self._flush()
        self._shares = min(self._shares, 1)  # added to those of earlier micro-batches
        self._has_bucket = self._has_share = False
        yield 0

    def step(self) -> Iterator[int]:
        # norms are taken in fp64, one gradient at a time
        yield FP64 * max((own for part in self._parts for own in part.inside.values()), default=0)
        yield FP32 * max(part.size for part in self._parts)


class Zero3(Account):
    """Stage 3: all is divided; weights are gathered for a forward pass and let go as their gradients are complete.

    DeepSpeed gathers ahead where every forward pass uses the same modules as the one before. What comes over the wire
    is flat, is copied into each weight's own place, and stays until the last of them is used; where it does not gather
    ahead, this was found of the pass without gradients alone.

    Args:
        bucket: elements of gradients that are reduced at a time.
        persistent: weights below this many elements stay whole.
        ahead: whether it gathers ahead.
    """

    def __init__(
        self, weights: Sequence[Weight], averages: bool, bucket: int, persistent: int, ranks: int, ahead: bool
    ) -> None:
        trainable = [weight for weight in weights if weight.trainable]
        own = sum(math.ceil(weight.numel / ranks) for weight in trainable)
        frozen = sum(math.ceil(weight.numel / ranks) for weight in weights if not weight.trainable)
        small = numel([weight for weight in weights if weight.numel < persistent])
        self._standing = Held(
            weights=FP32 * (own + frozen + small),
            gradients=FP32 * own,
            optimizer=FP32 * (1 + MOMENTS) * own,
            average=FP32 * own * averages,
            buffers=FP32 * bucket,
        )
        self._own, self._ranks, self._ahead = own, ranks, ahead
        self._large = [weight for weight in weights if weight.numel >= persistent]
        self._largest_share = max(math.ceil(weight.numel / ranks) for weight in weights)
        self._bucket = Bucket(bucket)
        self._whole: dict[str, Weight] = {}
        self._gathered: dict[str, Weight] = {}
        self._flat = 0

    def held(self) -> Held:
        gathered = min(numel(list(self._gathered.values())), REUSE)
        whole = numel(list(self._whole.values()))
        return self._standing + Held(weights=FP32 * gathered, gradients=FP32 * whole, buffers=FP32 * self._flat)

    def enter(self, phase: str) -> None:
        missing = [weight for weight in self._large if weight.name not in self._gathered]
        self._gathered |= {weight.name: weight for weight in missing}
        self._flat = min(numel(missing), PREFETCH) if self._ahead or phase == "embed" else 0

    def turn(self) -> None:
        self._flat = 0

    def ready(self, weight: Weight, final: bool) -> Iterator[int]:
        self._whole[weight.name] = weight
        yield 0
        if self._bucket.inside and self._bucket.overflows(weight):
            yield from self._flush()
        if weight.numel <= self._bucket.size:
            self._whole.pop(weight.name)
        self._bucket.inside.append(weight)
        self._gathered.pop(weight.name, None)

    def _flush(self) -> Iterator[int]:
        uneven = any(weight.numel % self._ranks for weight in self._bucket.inside)
        yield FP32 * self._bucket.elements if uneven else self._bucket.temporary()
        for weight in self._bucket.inside:
            self._whole.pop(weight.name, None)
        self._bucket.inside = []

    def close(self, final: bool) -> Iterator[int]:
        yield from self._flush()

    def step(self) -> Iterator[int]:
        self._gathered = {}
        yield FP64 * self._largest_share
        yield FP32 * self._own
