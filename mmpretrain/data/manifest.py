"""One page over all shards of a dataset: how many samples each holds, its size and its digest.

With it a run knows its counts and its order without opening a single index; `mmpretrain data index` writes it.
"""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import write_atomic
from mmpretrain.data.index import ShardIndex

FILE = "manifest.json"
FORMAT = "mmpretrain-manifest-1"


class ShardFacts(NamedTuple):
    """What the order and a check need to know of a shard."""

    samples: int
    bytes: int
    sha256: str
    notes: int = 0
    """Files that stand in no sample; `mmpretrain data check` names them."""

    @staticmethod
    def of(index: ShardIndex) -> "ShardFacts":
        """The facts of an opened shard."""
        return ShardFacts(len(index), index.bytes, index.digest, len(index.notes))


def read_manifest(folder: Path) -> dict[str, ShardFacts]:
    """Facts by name of the tar; empty where there is no manifest.

    Raises:
        DataError: it is damaged, or of another format.
    """
    file = folder / FILE
    if not file.exists():
        return {}
    remedy = f"delete it and run `mmpretrain data index {folder}`"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            raise DataError(f"{file}: unknown format {tree['format']!r}; {remedy}")
        return {name: ShardFacts(**facts) for name, facts in tree["shards"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: damaged manifest ({error}); {remedy}") from error


def write_manifest(folder: Path, facts: dict[str, ShardFacts]) -> None:
    """Replace the manifest, whole or not at all."""
    shards = {name: found._asdict() for name, found in sorted(facts.items())}
    write_atomic(folder / FILE, json.dumps({"format": FORMAT, "shards": shards}, indent=1) + "\n")


def add_to_manifest(folder: Path, facts: dict[str, ShardFacts]) -> None:
    """Keep what a first use found out; a read-only folder goes without."""
    with contextlib.suppress(OSError):
        write_manifest(folder, {**read_manifest(folder), **facts})
