"""Lists of samples: one line each, `shard<TAB>key`; or DataComp's sorted array of 128-bit identifiers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import write_atomic

Uid = tuple[str, str]
"""Name of the shard as `shard_name` has it, and key."""


def write_uids(path: Path, uids: Iterable[Uid]) -> None:
    """A list as text, in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(f"{shard}\t{key}\n" for shard, key in uids))


def read_uids(path: Path) -> set[Uid]:
    """The samples that a text lists.

    Raises:
        ConfigError: there is no such file.
        DataError: a line is not `shard<TAB>key`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    pairs = [line.split("\t") for line in lines]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2:
            raise DataError(f"{path}: line {number} is not shard<TAB>key; write the list with `mmpretrain data filter`")
    return {(shard, key) for shard, key in pairs}


def by_name(uids: Iterable[Uid], shards: Mapping[str, str], where: str) -> set[Uid]:
    """The same samples with each shard as its card names it; lists of earlier versions hold file names alone.

    Args:
        shards: name of each shard of the card -> its file name.
        where: what the error calls the list.

    Raises:
        DataError: a file name stands for several shards of the card.
    """
    named: dict[str, list[str]] = {}
    for name, file in shards.items():
        named.setdefault(file, []).append(name)
    found = set()
    for shard, key in uids:
        names = [shard] if shard in shards else named.get(shard, [shard])
        if len(names) > 1:
            raise DataError(
                f"{where}: {shard} may be {' or '.join(sorted(names)[:3])}; write the list anew, it then says which"
            )
        found.add((names[0], key))
    return found


def datacomp_array(uids: Sequence[str]) -> np.ndarray:
    """32 hex digits each as DataComp's resharder reads them: rows of (upper, lower) 64 bits, sorted.

    Raises:
        DataError: one is not a 128-bit number in hex.
    """
    try:
        numbers = sorted(int(uid, 16) for uid in uids)
    except ValueError as error:
        raise DataError(f"uid: {error}; DataComp's are 32 hex digits, without them write a list as text") from error
    return np.array([divmod(number, 1 << 64) for number in numbers], dtype="u8,u8")
