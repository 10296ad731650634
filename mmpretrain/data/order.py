"""The one order: position -> sample, a pure function of (digest of the shards, seed).

Positions count an endless concatenation of epochs, each a permutation of all samples. Within an epoch, blocks
of neighbours in one shard are shuffled, and samples are shuffled within windows of some blocks: reads stay
nearly sequential and few files are open at a time. Ranks, workers and micro-batches only decide who fetches a
position, so the whole state of the data is one integer.
"""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from mmpretrain.core.counter import counter_hash, name_to_int, permutation

RESERVE = name_to_int("reserve")
"""Keeps the draws of reserves apart from those of the order."""
CHOSEN = name_to_int("chosen")
"""The same for the draws of samples that a part keeps."""


class Order:
    """Which sample stands at a position.

    Args:
        sizes: number of samples of each shard.
        digest: what identifies the data, as `digest_of_shards` gives it.
        seed: another seed is another order of the same data.
        block: samples of one shard that stay in one window.
        window: blocks that are shuffled together.
    """

    def __init__(self, sizes: Sequence[int], digest: str, seed: int, block: int = 256, window: int = 64) -> None:
        self.length = sum(sizes)
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._key = name_to_int(f"{digest} {seed}")
        self._window = window
        # first sample of each block, and the end of the last
        firsts = [np.arange(start, start + size, block) for start, size in zip(self.starts, sizes, strict=False)]
        self._blocks = np.concatenate([*firsts, [self.length]]).astype(np.int64)
        self._epoch = functools.lru_cache(maxsize=2)(self._lay_out_epoch)
        self._shuffled = functools.lru_cache(maxsize=4)(self._shuffle_window)

    def __getitem__(self, position: int) -> tuple[int, int]:
        """(shard, sample in the shard) at a position, from 0 without end."""
        epoch, place = divmod(position, self.length)
        _, ends = self._epoch(epoch)
        window = int(np.searchsorted(ends, place, side="right"))
        sample = int(self._shuffled(epoch, window)[place - (ends[window - 1] if window else 0)])
        return self._place(sample)

    def reserve(self, position: int, attempt: int) -> tuple[int, int]:
        """(shard, sample in the shard) that stands in when a position's own sample cannot be read.

        A pure function too, so that a replacement is the same for any number of ranks and workers and after any
        resume. Drawn from all samples: another one of the same block would often be as damaged.

        Args:
            attempt: 1 for the first reserve; the next one where that is bad as well.
        """
        return self._place(int(counter_hash(self._key, RESERVE, position, attempt) % np.uint64(self.length)))

    def _place(self, sample: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self.starts, sample, side="right")) - 1
        return shard, sample - int(self.starts[shard])

    def _lay_out_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of blocks in an epoch, and the place where each window ends."""
        blocks = permutation(len(self._blocks) - 1, self._key, epoch)
        ends = np.cumsum((self._blocks[1:] - self._blocks[:-1])[blocks])
        last_blocks = np.append(np.arange(self._window - 1, len(blocks) - 1, self._window), len(blocks) - 1)
        return blocks, ends[last_blocks]

    def _shuffle_window(self, epoch: int, window: int) -> np.ndarray:
        blocks, _ = self._epoch(epoch)
        chosen = blocks[window * self._window : (window + 1) * self._window]
        samples = np.concatenate([np.arange(self._blocks[b], self._blocks[b + 1]) for b in chosen])
        return samples[np.argsort(counter_hash(self._key, epoch, samples), kind="stable")]


class Part(Order):
    """The order of some samples alone, drawn by the seed; their reserves are drawn from them too.

    Of one seed, more samples hold all of fewer.

    Args:
        samples: how many, at most all.
    """

    def __init__(self, sizes: Sequence[int], digest: str, seed: int, samples: int) -> None:
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        drawn = np.sort(permutation(sum(sizes), name_to_int(f"{digest} {seed}"), CHOSEN)[:samples])
        shards = np.searchsorted(starts, drawn, side="right") - 1
        self._rows = drawn - starts[shards]
        super().__init__(np.bincount(shards, minlength=len(sizes)).tolist(), f"{digest} {samples}", seed)

    def places(self) -> list[tuple[int, int]]:
        """(shard, sample in the shard) of its samples, in the order of the shards."""
        shards = np.searchsorted(self.starts, np.arange(self.length), side="right") - 1
        return list(zip(shards.tolist(), self._rows.tolist(), strict=True))

    def _place(self, sample: int) -> tuple[int, int]:
        return super()._place(sample)[0], int(self._rows[sample])


def digest_of_shards(shards: Sequence[tuple[str, str]]) -> str:
    """One digest over (name, SHA-256) of every shard, in order."""
    return hashlib.sha256("\n".join(f"{digest}  {name}" for name, digest in shards).encode()).hexdigest()


def positions_of_micro_batch(step: int, micro: int, batch: int, rank: int, ranks: int, micros: int) -> range:
    """The positions of one micro-batch of one rank in one step.

    A global batch is `batch` consecutive positions; each rank takes one consecutive part of it, each
    micro-batch one consecutive part of that. `batch` divides by ranks * micros.
    """
    rows = batch // (ranks * micros)
    start = step * batch + (rank * micros + micro) * rows
    return range(start, start + rows)
