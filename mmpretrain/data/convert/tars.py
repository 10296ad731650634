"""Shards that img2dataset or another WebDataset writer made: used as they are, indexed and counted, not copied."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from mmpretrain.core.errors import DataError
from mmpretrain.data.card import ImageSuffix
from mmpretrain.data.convert.picture import files_below, suffix_of
from mmpretrain.data.convert.record import LeftOut
from mmpretrain.data.index import ShardIndex
from mmpretrain.data.scan import scan

CAPTION_SUFFIXES = ("txt", "text", "caption")


@dataclass
class Survey:
    """What a folder of tars holds."""

    names: list[str] = field(default_factory=list)
    """Of the tars that can be used, relative to the folder."""
    samples: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)
    """How many samples have a member of each suffix."""
    left_out: list[LeftOut] = field(default_factory=list)
    """Tars that cannot be used or differ from their statistics, and samples without picture or caption."""
    bad_shards: int = 0
    bad_samples: int = 0

    @property
    def images(self) -> list[str]:
        """Suffixes of pictures, the most common first."""
        return [suffix for suffix, _ in self.suffixes.most_common() if suffix in get_args(ImageSuffix)]

    @property
    def caption(self) -> str | None:
        return next((suffix for suffix in CAPTION_SUFFIXES if self.suffixes[suffix]), None)


def find_tars(folder: Path) -> list[str]:
    """The tars below a folder, relative, in the order of their names."""
    return [path for path in files_below(folder, follow_links=True) if suffix_of(path) == ".tar"]


def read_tar(path: Path) -> ShardIndex | str:
    """The index of a tar, or what is wrong with it."""
    try:
        return scan(path)
    except DataError as error:
        return str(error)


def survey(folder: Path, found: Iterable[tuple[str, ShardIndex | str]]) -> Survey:
    """Counts over all tars; `found` are their names and what `read_tar` says of them."""
    result = Survey()
    indexes = []
    for name, index in found:
        said = successes(folder / name)
        if isinstance(index, str):
            if said != 0:  # img2dataset leaves an empty tar where every download failed
                result.left_out.append(LeftOut(name, "damaged_shard", index))
                result.bad_shards += 1
            continue
        if said is not None and said != len(index):
            detail = f"holds {len(index):,} samples, its _stats.json counts {said:,}; used as it is"
            result.left_out.append(LeftOut(name, "count_differs", detail))
            result.bad_shards += 1
        result.names.append(name)
        result.samples += len(index)
        result.suffixes.update(_suffixes(index))
        indexes.append((name, index))
    for name, index in indexes:
        _note_missing(result, name, index)
    return result


def successes(tar: Path) -> int | None:
    """How many samples img2dataset says it wrote; None without its statistics."""
    file = tar.with_name(f"{tar.stem}_stats.json")
    try:
        return int(json.loads(file.read_bytes())["successes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _suffixes(index: ShardIndex) -> dict[str, int]:
    counts = np.bincount(index.suffix_ids, minlength=len(index.suffixes))
    return {suffix: int(count) for suffix, count in zip(index.suffixes, counts, strict=True)}


def _note_missing(result: Survey, name: str, index: ShardIndex) -> None:
    """Name the samples that a loader will have to replace."""
    wanted = [*([result.images] if result.images else []), *([[result.caption]] if result.caption else [])]
    for row, key in enumerate(index.keys):
        here = {member.suffix for member in index.members(row)}
        missing = [group for group in wanted if not here & set(group)]
        if missing:
            suffixes = " and no ".join("." + "/.".join(group) for group in missing)
            result.left_out.append(LeftOut(f"{name}: {key}", "missing_member", f"no {suffixes}; stays in the shard"))
            result.bad_samples += 1
