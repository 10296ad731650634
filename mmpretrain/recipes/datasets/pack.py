"""`mmpretrain data pack`: a folder, table or set of shards becomes a dataset with card and indexes, in one step."""

import csv
import errno
import functools
import io
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import ConfigError, DataError, MmpretrainError
from mmpretrain.core.files import folder_in_one_step, require_space, write_atomic
from mmpretrain.core.parallel import ordered_map
from mmpretrain.core.settings import settings
from mmpretrain.data.card import CARD, as_ranges
from mmpretrain.data.convert.answers import Asked
from mmpretrain.data.convert.columns import Wanted
from mmpretrain.data.convert.detect import Format, detect
from mmpretrain.data.convert.examine import Examined, Resize, examiner
from mmpretrain.data.convert.members import members, picture_bytes
from mmpretrain.data.convert.merge import Merge, Merged
from mmpretrain.data.convert.new_card import card_text
from mmpretrain.data.convert.passages import CARD_FIELDS, in_passages
from mmpretrain.data.convert.record import LeftOut, Picture, Record, Source
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits
from mmpretrain.data.writer import MAX_BYTES, MAX_SAMPLES, ShardWriter

ERRORS = "pack_errors.csv"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@settings
class Pack:
    """What is packed, how, and where to."""

    source: Path
    captions: tuple[Path, ...] = ()
    out: Path
    layout: Format = "auto"
    wanted: Wanted = field(default_factory=Wanted)
    classes: tuple[str, ...] = ()
    """Classes that rows may have, in their order; empty: all that occur."""
    passage_words: int | None = None
    """Most words of a passage that a document is cut into; None: a document is one sample."""
    split: str = "train"
    resize: Resize | None = None
    max_bad: float = 0.05
    workers: int | None = None
    """None: as many as there are processors, once a few seconds of work in this process were not enough."""
    shard_bytes: int = MAX_BYTES
    shard_samples: int = MAX_SAMPLES
    limits: ImageLimits = field(default_factory=ImageLimits)


def pack(options: Pack, console: Console) -> None:
    """Read, look at every picture, join, write, and say what was left out.

    Raises:
        ConfigError: the output is there already, or the source is of no known format.
        DataError: more than `max_bad` of the records cannot be used; nothing is written but the list of them.
    """
    refuse_existing(options.out)
    source = detect(options.source, options.captions, options.wanted, options.layout)
    if options.passage_words is not None:
        source = in_passages(source, options.passage_words)
    console.print(source.said, soft_wrap=True)
    records = list(source) if source.has_pictures else source
    examined = examine_pictures(records, options, console) if isinstance(records, list) else {}
    if options.classes and source.label is None:
        raise ConfigError("--classes: the source names no classes; choose their column with --label-column")
    merge = Merge(source.joins, source.label, options.split, options.classes)
    samples: Iterable[Merged] = merge.samples(records, examined)
    if isinstance(records, list):
        samples = list(samples)
        refuse_too_many(merge, options)
        require_space(options.out, space(samples), "these shards", "choose another --out")
    try:
        with folder_in_one_step(options.out) as folder:
            card = write_samples(folder, samples, source, options, console)
            refuse_too_many(merge, options)
            (folder / ERRORS).write_bytes(errors_table(merge.left_out))
            (folder / CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise on_full_disk(error, options.out) from error
    errors_beside(options.out).unlink(missing_ok=True)
    say(options.out, merge, console)


def refuse_existing(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"--out: {out} is there already; choose another name, or remove it first")


def examine_pictures(
    records: list[Record | LeftOut], options: Pack, console: Console
) -> dict[Picture, Examined | BadSample]:
    """Every picture that a record names, decoded once."""
    named = dict.fromkeys(item.picture for item in records if isinstance(item, Record) and item.picture is not None)
    pictures = list(named)
    examine = examiner(options.limits)
    found = ordered_map(examine, pictures, options.workers, preload="mmpretrain.data.convert.examine")
    return dict(zip(pictures, progress(found, "looking", len(pictures), console), strict=True))


def progress(items: Iterable[Any], name: str, total: int | None, console: Console) -> Iterator[Any]:
    yield from track(items, name, total, console=console, disable=not console.is_terminal)


def refuse_too_many(merge: Merge, options: Pack) -> None:
    """Stop before anything takes its name where too much of the source is unusable.

    Raises:
        DataError: too much, or all of it.
    """
    if not merge.records:
        raise DataError(f"{options.source}: nothing in it to pack")
    share = merge.bad / merge.records
    if share <= options.max_bad and merge.bad < merge.records:
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    beside = errors_beside(options.out)
    write_atomic(beside, errors_table(merge.left_out))
    remedy = f"; mend them, or allow it with --max-bad {math.ceil(100 * share) / 100:g}" if share < 1 else ""
    raise DataError(
        f"{options.source}: {merge.bad:,} of {merge.records:,} records ({100 * share:.1f} %) cannot be used "
        f"({reasons(merge)}); nothing was packed, each is named in {beside}{remedy}"
    )


def errors_beside(out: Path) -> Path:
    """Where faults are listed when there is no dataset to list them in."""
    return out.with_name(f"{out.name}.{ERRORS}")


def errors_table(left_out: Iterable[LeftOut]) -> bytes:
    """What was left out as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["origin", "reason", "detail"])
    table.writerows([item.origin, item.reason, item.detail] for item in left_out)
    return text.getvalue().encode("utf-8", "backslashreplace")


def space(samples: Iterable[Merged]) -> int:
    """Bytes that shards and indexes will take, roughly: members are rounded up to blocks and have a header each."""
    return sum(4096 + (sample.examined.size if sample.examined else len(sample.first)) for sample in samples)


def write_samples(folder: Path, samples: Iterable[Merged], source: Source, options: Pack, console: Console) -> str:
    """Write the shards of every split; returns the card."""
    suffixes: dict[str, int] = {}
    labels: set[str] = set()
    several = described = False
    asked = Asked()
    writers: dict[str, ShardWriter] = {}
    total = len(samples) if isinstance(samples, list) else None
    with ExitStack() as stack:
        for number, (sample, content) in enumerate(progress(loaded(samples, options), "packing", total, console)):
            if sample.split not in writers:
                writer = ShardWriter(folder, sample.split, options.shard_bytes, options.shard_samples)
                writers[sample.split] = stack.enter_context(writer)
            parts = members(sample, content, options.resize is not None)
            suffixes |= {suffix: suffixes.get(suffix, 0) + 1 for suffix in parts if suffix not in ("txt", "json")}
            if source.label is not None:
                said = sample.facts[source.label]
                several |= isinstance(said, list)
                labels.update(said if isinstance(said, list) else [str(said)])
            described |= len(sample.captions) > 1
            asked.add(sample.facts)
            writers[sample.split].write(f"{number:09d}", parts)
    splits = {
        name: {"shards": as_ranges([path.name for path in writer.paths]), "samples": writer.samples}
        for name, writer in writers.items()
    }
    image = sorted(suffixes, key=lambda suffix: (-suffixes[suffix], suffix))
    name, description = (
        options.source.resolve().name,
        describe(source, options, sum(w.samples for w in writers.values())),
    )
    fields = CARD_FIELDS if options.passage_words is not None else {} if source.joins else asked.fields
    if described and source.has_pictures:
        fields = {**fields, "captions": "captions"}
    classes = options.classes or sorted(labels)
    return card_text(name, description, name, image, splits, source.label, classes, several, fields=fields)


def describe(source: Source, options: Pack, count: int) -> str:
    what = "pairs" if source.has_pictures else "texts"
    text = f"{count:,} {what} packed from {source.kind}."
    if options.passage_words is not None:
        text += " A document's last passage is no sample: it stands as `next` of the one before."
    if options.resize is not None:
        text += (
            f" Pictures whose {options.resize.which} side was over {options.resize.side} px were made smaller and "
            "re-encoded as JPEG of quality 95; the others have their original bytes."
        )
    elif source.has_pictures:
        text += " Pictures have their original bytes."
    return text


def loaded(samples: Iterable[Merged], options: Pack) -> Iterator[tuple[Merged, bytes | None]]:
    """Each sample with the bytes of its picture.

    Raises:
        DataError: a picture is no longer what it was when it was looked at.
    """
    if not isinstance(samples, list):
        yield from ((sample, None) for sample in samples)
        return
    # without resizing there is only reading to do, which other processes would not do sooner
    workers = options.workers if options.resize else 0
    load = functools.partial(picture_bytes, resize=options.resize, max_bytes=options.limits.max_bytes)
    pictures = [(sample.picture, sample.examined.digest if sample.examined else b"") for sample in samples]
    contents = ordered_map(load, pictures, workers, preload="mmpretrain.data.convert.examine")
    for sample, content in zip(samples, contents, strict=True):
        if isinstance(content, BadSample):
            raise DataError(f"{options.source}: {sample.origin}: {content.detail}; pack again once nothing changes it")
        yield sample, content


def on_full_disk(error: OSError, out: Path) -> Exception:
    if error.errno not in FULL_DISK:
        return error
    return MmpretrainError(f"{out}: no space left; nothing was written; free some space, or choose another --out")


def reasons(merge: Merge) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in merge.reasons.most_common())


def say(out: Path, merge: Merge, console: Console) -> None:
    """What became of the records, where everything is, and what to do next."""
    from mmpretrain.data.card import load_card

    splits = load_card(out).splits
    count = sum(split.samples or 0 for split in splits.values())
    shards = list(out.glob("*.tar"))
    size = sum(path.stat().st_size for path in shards)
    joined = f", {merge.joined:,} joined as further captions" if merge.joined else ""
    lines = [
        f"{out}: {count:,} samples of {merge.records:,} records in {len(shards)} shards, {size / 1e6:,.1f} MB{joined}",
        f"left out: {reasons(merge) or 'nothing'}; {out / ERRORS}",
        f"next: fill in licence and maker in {out / CARD}, then mmpretrain data check {out}",
    ]
    console.print("\n".join(lines), soft_wrap=True, markup=False)
