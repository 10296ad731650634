"""`mmpretrain data pack` on shards that are there already: card and indexes, no copies."""

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import folder_in_one_step, write_atomic
from mmpretrain.core.parallel import ordered_map
from mmpretrain.data.card import CARD, as_ranges
from mmpretrain.data.convert.benchmark_set import is_benchmark_set
from mmpretrain.data.convert.new_card import card_text
from mmpretrain.data.convert.tars import Survey, find_tars, read_tar, survey
from mmpretrain.data.index import SUFFIX, ShardIndex, write_index
from mmpretrain.data.manifest import ShardFacts, write_manifest
from mmpretrain.recipes.datasets.pack import ERRORS, Pack, errors_beside, errors_table, refuse_existing


def holds_shards(source: Path) -> bool:
    """Whether tars are used as they are; those of CLIP_benchmark's layout are packed as pictures are."""
    return source.is_dir() and not is_benchmark_set(source) and bool(find_tars(source))


def pack_shards(options: Pack, console: Console) -> None:
    """Index and count the tars of a folder; in place, or by links from another folder.

    Raises:
        ConfigError: there is a dataset already, or an option that only makes sense for pictures.
        DataError: more than `max_bad` of the shards or samples cannot be used.
    """
    in_place = options.out.resolve() == options.source.resolve()
    refuse_options(options, in_place)
    names = find_tars(options.source)
    console.print(f"{options.source}: {len(names):,} shards, used as they are", soft_wrap=True)
    read = ordered_map(read_tar, [options.source / name for name in names], options.workers, chunk=1)
    found = dict(
        zip(names, track(read, "indexing", len(names), console=console, disable=not console.is_terminal), strict=True)
    )
    result = survey(options.source, found.items())
    refuse_too_many(result, names, options, in_place)
    kept = set(result.names)
    indexes = {name: index for name, index in found.items() if name in kept}
    if in_place:
        write(options.out, result, indexes, options, link=None)
    else:
        with folder_in_one_step(options.out) as folder:
            write(folder, result, indexes, options, link=options.source.resolve())
    say(options.out, result, console)


def refuse_options(options: Pack, in_place: bool) -> None:
    if options.captions or options.classes or options.resize or options.passage_words is not None:
        raise ConfigError(
            f"{options.source}: its shards are used as they are; --captions, --classes, --resize and --passage-words "
            "do not fit"
        )
    if not in_place:
        refuse_existing(options.out)
    elif (options.out / CARD).exists():
        raise ConfigError(
            f"{options.out / CARD}: is there already; remove it, or run mmpretrain data check {options.out}"
        )


def refuse_too_many(result: Survey, names: list[str], options: Pack, in_place: bool) -> None:
    shards, samples = result.bad_shards / len(names), result.bad_samples / max(1, result.samples)
    if result.samples and result.caption and max(shards, samples) <= options.max_bad:
        return
    beside = options.out / ERRORS if in_place else errors_beside(options.out)
    beside.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(beside, errors_table(result.left_out))
    if not result.samples or not result.caption:
        what = "no samples that can be used" if not result.samples else "no captions (.txt) in any shard"
        raise DataError(f"{options.source}: {what}; see {beside}")
    raise DataError(
        f"{options.source}: {result.bad_shards:,} of {len(names):,} shards and {result.bad_samples:,} of "
        f"{result.samples:,} samples cannot be used; no card was written, each is named in {beside}; restore them, or "
        "raise --max-bad"
    )


def write(folder: Path, result: Survey, indexes: dict[str, ShardIndex | str], options: Pack, link: Path | None) -> None:
    """Indexes, links where the tars are elsewhere, the list of faults, and the card at last."""
    place: Callable[[str], Path] = lambda name: folder / name  # noqa: E731
    for name, index in indexes.items():
        if link is not None:
            place(name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(link / name, place(name))
        if isinstance(index, ShardIndex):
            write_index(index, folder / (name + SUFFIX))
    write_manifest(folder, {n: ShardFacts.of(index) for n, index in indexes.items() if isinstance(index, ShardIndex)})
    write_atomic(folder / ERRORS, errors_table(result.left_out))
    splits = {options.split: {"shards": as_ranges(result.names), "samples": result.samples}}
    source = options.source.resolve().name
    text = card_text(
        source,
        f"{result.samples:,} samples in shards that were made elsewhere, used as they are.",
        source,
        result.images,
        splits,
        caption=result.caption or "txt",
    )
    write_atomic(folder / CARD, text)


def say(out: Path, result: Survey, console: Console) -> None:
    reasons = ", ".join(sorted({item.reason for item in result.left_out})) or "none"
    lines = [
        f"{out}: {result.samples:,} samples in {len(result.names):,} shards; card and indexes written, nothing copied",
        f"faults: {len(result.left_out):,} ({reasons}); {out / ERRORS}",
        f"next: fill in licence and maker in {out / CARD}, then mmpretrain data check {out}",
    ]
    console.print("\n".join(lines), soft_wrap=True, markup=False)
