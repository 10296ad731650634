"""The indexes of a dataset's shards: made on first use, kept beside them, opened as they are needed.

A shard that no longer fits its index is refused, or read as far as it is intact.
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, Literal

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import sha256
from mmpretrain.data.index import SUFFIX, ShardIndex, read_index, write_index
from mmpretrain.data.manifest import FILE as MANIFEST
from mmpretrain.data.manifest import ShardFacts
from mmpretrain.data.scan import salvage, salvage_unindexed, scan
from mmpretrain.data.shard_bytes import Shard

OnDamage = Literal["refuse", "salvage"]
OPEN_INDEXES = 160
"""Indexes that a process keeps in memory: more than the windows that the order reads at a time touch."""


def open_index(shard: Shard, verify: bool = False, on_damage: OnDamage = "refuse") -> ShardIndex:
    """The index of a shard; made and kept beside it on first use.

    Args:
        verify: hash the whole shard, not only compare its size.
        on_damage: `salvage` finds what is left of a shard that differs from its index, and leaves what is not to
            the reader's checksums; of a shard without an index it takes what is intact.

    Raises:
        DataError: the shard is damaged, or is not the one that was indexed.
    """
    file = shard.with_name(shard.name + SUFFIX)
    if not file.exists():
        index = salvage_unindexed(shard) if on_damage == "salvage" else scan(shard)
        if not index.intact:
            return index  # what is left of a shard is no description of it
        with contextlib.suppress(OSError):  # a read-only folder: the next start scans again
            write_index(index, file)
        return index
    index = read_index(shard, file)
    size = shard.stat().st_size
    if size == index.bytes and not (verify and sha256(shard) != index.digest):
        return index
    if on_damage == "salvage":
        return salvage(index)
    raise DataError(
        f"{shard}: is not the file that {file.name} describes ({size:,} bytes, indexed {index.bytes:,}); restore the "
        f"shard, read what is left of it with data.on_damage=salvage, or if the change is meant delete {file.name} "
        f"and run `mmpretrain data index {shard.parent}`"
    )


class Shards(Sequence[ShardIndex]):
    """The indexes of a split's shards, each opened when it is first needed."""

    def __init__(self, paths: Sequence[Shard], on_damage: OnDamage) -> None:
        self.paths = paths
        self._on_damage = on_damage
        self._open = functools.lru_cache(maxsize=OPEN_INDEXES)(self._open_one)
        self._facts: dict[int, ShardFacts] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._open(number)

    def expect(self, facts: Sequence[ShardFacts]) -> None:
        """What each shard has to be when it is opened."""
        self._facts = dict(enumerate(facts))

    def _open_one(self, number: int) -> ShardIndex:
        path = self.paths[number]
        index = open_index(path, on_damage=self._on_damage)
        expected = self._facts.get(number)
        if expected and (expected.samples, expected.sha256) != (len(index), index.digest):
            raise DataError(
                f"{path}: its index is not the one that {path.parent / MANIFEST} describes; restore both, or if the "
                f"change is meant run `mmpretrain data index {path.parent}`"
            )
        return index
