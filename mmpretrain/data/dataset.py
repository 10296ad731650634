"""One split of one dataset on disk."""

import contextlib
from collections.abc import Iterator

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.captions import decode_caption
from mmpretrain.data.card import Card, find_dataset, load_card, shard_paths
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import ShardIndex, open_index
from mmpretrain.data.order import Order, digest_of_shards
from mmpretrain.data.samples import Limits, Sample, ShardReader, decode
from mmpretrain.data.storage import Storage


class Dataset:
    """One split of one dataset on disk: its card, its shards' indexes and its digest.

    Args:
        verify: hash every shard, not only compare its size.
        storage: how shards behind URLs are read; None: the defaults.
        indexed: False for shards that are only streamed: nothing is read, the card is believed.
    """

    def __init__(
        self, name: str, split: str, verify: bool = False, storage: Storage | None = None, indexed: bool = True
    ) -> None:
        self.folder = find_dataset(name)
        self.card: Card = load_card(self.folder)
        self.split = split
        self.paths = shard_paths(self.folder, self.card, split, storage)
        self.shards: list[ShardIndex] = [open_index(path, verify) for path in self.paths] if indexed else []
        expected = self.card.splits[split].samples
        if len(self) != expected:
            raise DataError(
                f"{self.folder}: the card says {expected:,} samples in {split!r}, its shards hold {len(self):,}; "
                "correct dataset.yaml or restore the shards"
            )

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards) if self.shards else self.card.splits[self.split].samples

    @property
    def bytes(self) -> int:
        return sum(shard.path.stat().st_size for shard in self.shards)

    @property
    def digest(self) -> str:
        if not self.shards:  # what is only streamed has nothing but its names
            return digest_of_shards([(path.name, "") for path in self.paths])
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
        """The caption of every sample that has one, without a look at the pictures.

        Raises:
            ConfigError: the shards are only streamed.
        """
        if not self.shards:
            raise ConfigError(
                "data.tokenizer: wordpiece learns from all captions, and data.order: streaming does not read them "
                "beforehand; use data.tokenizer.kind=clip"
            )
        reader = ShardReader()
        for shard in self.shards:
            for row in range(len(shard)):
                with contextlib.suppress(BadSample):
                    members = reader.read(shard, row, (self.card.caption,))
                    yield decode_caption(members.get(self.card.caption, b""), (limits or Limits()).caption)
