"""One split of one dataset on disk."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mmpretrain.core.errors import DataError
from mmpretrain.data.captions import decode_caption
from mmpretrain.data.card import CARD, Card, find_dataset, load_card, shard_paths
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import ShardIndex, open_index
from mmpretrain.data.order import Order, digest_of_shards
from mmpretrain.data.samples import Limits, Sample, ShardReader, decode


class Dataset:
    """One split of one dataset on disk: its card, its shards' indexes and its digest."""

    def __init__(self, name: str, split: str, verify: bool = False) -> None:
        self.folder = find_dataset(name)
        self.card: Card = load_card(self.folder)
        self.split = split
        self.shards: list[ShardIndex] = [open_index(p, verify) for p in shard_paths(self.folder, self.card, split)]
        expected = self.card.splits[split].samples
        if len(self) != expected:
            raise DataError(
                f"{self.folder}: the card says {expected:,} samples in {split!r}, its shards hold {len(self):,}; "
                "correct dataset.yaml or restore the shards"
            )

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.path.stat().st_size for shard in self.shards)

    @property
    def digest(self) -> str:
        return digest_of_shards([(shard.path.name, shard.digest) for shard in self.shards])

    def order(self, seed: int) -> Order:
        return Order([len(shard) for shard in self.shards], self.digest, seed)

    def sample(self, reader: ShardReader, shard: int, sample: int, position: int, limits: Limits) -> Sample:
        """A sample, decoded.

        Raises:
            BadSample: it is damaged, or not what the card asks for.
        """
        index = self.shards[shard]
        return decode(self.card, reader.read(index, sample), index.keys[sample], position, limits)

    def samples(self, limits: Limits | None = None) -> Iterator[Sample]:
        """Every sample once, in the order of the shards.

        Raises:
            DataError: a sample cannot be used; names shard and key.
        """
        reader = ShardReader()
        position = 0
        for number, shard in enumerate(self.shards):
            for row in range(len(shard)):
                try:
                    yield self.sample(reader, number, row, position, limits or Limits())
                except BadSample as error:
                    raise DataError(self.complaint(number, row, error)) from error
                position += 1

    def complaint(self, shard: int, sample: int, error: BadSample) -> str:
        """One line that names a bad sample and the remedy."""
        index = self.shards[shard]
        return (
            f"{index.path}: {index.keys[sample]}: {error.reason}: {error.detail}; restore the shard, or re-pack it "
            "without this sample"
        )

    def captions(self, limits: Limits | None = None) -> Iterator[str]:
        """The caption of every sample that has one, without a look at the pictures."""
        reader = ShardReader()
        for shard in self.shards:
            for row in range(len(shard)):
                with contextlib.suppress(BadSample):
                    members = reader.read(shard, row, (self.card.caption,))
                    yield decode_caption(members.get(self.card.caption, b""), (limits or Limits()).caption)


def open_splits(name: str, verify: bool = False) -> list[Dataset]:
    """The split that `NAME:SPLIT` means, every split of the card for a plain `NAME`.

    Raises:
        ConfigError: no such dataset or split.
        DataError: the shards are not what the card says.
    """
    folder, _, split = name.rpartition(":")
    if folder and not (Path(name) / CARD).is_file():
        return [Dataset(folder, split, verify)]
    return [Dataset(name, split, verify) for split in load_card(find_dataset(name)).splits]
