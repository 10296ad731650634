"""New shards out of samples of old ones: keys and bytes stay, equal input gives equal bytes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import folder_in_one_step
from mmpretrain.core.settings import build, read_yaml
from mmpretrain.data.card import CARD, ROOT, Card
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import ShardIndex
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.writer import MAX_SAMPLES, ShardWriter

Source = tuple[ShardIndex, int]
"""Where a sample stands now: shard, and sample in the shard."""


def new_folder(out: str) -> Path:
    """The folder of a dataset to be: a path, or a name under data_shards.

    Raises:
        ConfigError: something is there.
    """
    folder = Path(out) if "/" in out else ROOT / out
    if folder.exists():
        raise ConfigError(f"--out: {folder} exists; choose another name or delete it")
    return folder


def write_dataset(
    folder: Path, card: Mapping[str, Any], parts: Mapping[str, Sequence[Source]], shard_samples: int = MAX_SAMPLES
) -> None:
    """Shards, their indexes and the card, all at once or not at all.

    Args:
        card: what the new card says beside its splits.
        parts: the samples of each split; splits without any are left out.

    Raises:
        DataError: a sample's bytes are not those that were indexed.
    """
    with folder_in_one_step(folder) as temporary:
        reader = ShardReader()
        splits = {}
        for split, sources in parts.items():
            if not sources:
                continue
            shards = _write_shards(temporary, split, sources, reader, shard_samples)
            purpose = card.get("splits", {}).get(split, {}).get("purpose")
            splits[split] = {"shards": shards, "samples": len(sources)} | ({"purpose": purpose} if purpose else {})
        tree = {**card, "splits": splits}
        build(Card, tree, CARD)
        (temporary / CARD).write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110))


def _write_shards(
    folder: Path, split: str, sources: Iterable[Source], reader: ShardReader, shard_samples: int
) -> list[str]:
    """A shard ends early where a key comes again, because keys stay."""
    keys: set[str] = set()
    with ShardWriter(folder, split, max_samples=shard_samples) as writer:
        for shard, row in sources:
            if shard.keys[row] in keys:
                writer.close()
                keys.clear()
            keys.add(shard.keys[row])
            writer.write(shard.keys[row], read_whole(reader, shard, row))
    return [path.name for path in writer.paths]


def read_whole(reader: ShardReader, shard: ShardIndex, row: int) -> dict[str, bytes]:
    """Every member of a sample.

    Raises:
        DataError: its bytes are not those that were indexed.
    """
    try:
        return reader.read(shard, row)
    except BadSample as error:
        raise DataError(f"{shard.path}: {shard.keys[row]}: {error}; restore the shard") from error


def derived_card(folder: Path, how: str) -> dict[str, Any]:
    """A dataset's card as it stands, with a sentence on what was made of it.

    Args:
        how: what was done, such as `Split by ...`.
    """
    card = read_yaml(folder / CARD)
    sentences = (str(card.get("description", "")).strip(), how)
    return {**card, "description": " ".join(itertools.filterfalse(lambda text: not text, sentences))}
