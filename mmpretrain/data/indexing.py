"""Indexes of whole datasets: which shards still lack one, and one shard after another, for several processes."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mmpretrain.core.errors import DataError
from mmpretrain.data.card import load_card, shard_name, shard_paths
from mmpretrain.data.index import SUFFIX, write_index
from mmpretrain.data.manifest import ShardFacts, read_manifest
from mmpretrain.data.scan import scan
from mmpretrain.data.shard_bytes import Shard
from mmpretrain.data.storage import Storage

MOST_WHILE_RANKS_WAIT = 20_000_000_000
"""Bytes that one rank may read to index them while others wait for it: at 50 MB/s, a slow disk over a network, they
take 400 s of the 600 s after which a process group gives up."""

Indexed = tuple[ShardFacts, int, tuple[str, ...]]
"""Facts of a shard, bytes of its index, and files of it that stand in no sample."""


def index_one(shard: Shard) -> Indexed | str:
    """Index a shard; returns its error where it cannot be read.

    Raises:
        OSError: the index cannot be written.
    """
    try:
        found = scan(shard)
    except DataError as error:
        return str(error)
    file = shard.with_name(shard.name + SUFFIX)
    write_index(found, file)
    return ShardFacts.of(found), file.stat().st_size, found.notes


def unindexed(folder: Path, splits: Iterable[str], storage: Storage | None) -> list[Shard]:
    """The shards of some splits that would be read from end to end to know what they hold.

    Raises:
        ConfigError: the card has no such split.
        DataError: a shard is missing, or card or manifest are damaged.
    """
    card, known = load_card(folder), read_manifest(folder)
    named = dict.fromkeys(path for split in splits for path in shard_paths(folder, card, split, storage))
    return [
        shard
        for shard in named
        if shard_name(folder, shard) not in known and not shard.with_name(shard.name + SUFFIX).exists()
    ]


def refuse_long_wait(unread: Mapping[Path, int], ranks: int) -> None:
    """End a run of several ranks before the others lose patience with the one that indexes.

    Args:
        unread: for the folder of each dataset the bytes of its shards without an index.

    Raises:
        DataError: too many; a line for each dataset, with the command to run beforehand.
    """
    if ranks > 1 and sum(unread.values()) > MOST_WHILE_RANKS_WAIT:
        lines = [
            f"{folder}: shards of {size / 1e9:,.1f} GB have no index yet, too much to read while {ranks} ranks wait; "
            f"first run `mmpretrain data index {folder}`"
            for folder, size in unread.items()
        ]
        raise DataError("\n".join(lines))
