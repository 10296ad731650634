"""From the options of the command line to what packing takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.convert.columns import Wanted
from mmpretrain.data.convert.examine import Resize
from mmpretrain.recipes.datasets.pack import Pack, pack
from mmpretrain.recipes.datasets.pack_shards import holds_shards, pack_shards


def pack_options(source: Path, options: dict[str, Any]) -> tuple[Callable[[Pack, Console], None], Pack]:
    """The recipe for this source, and its settings."""
    wanted = Wanted(
        separator=options["separator"],
        encoding=options["encoding"],
        image_column=options["image_column"],
        caption_columns=options["caption_column"],
        label_column=options["label_column"],
        label_separator=options["label_separator"],
        answer_column=options["answer_column"],
        follow_links=options["follow_links"],
    )
    chosen = Pack(
        source=source,
        captions=options["captions"],
        out=options["out"],
        layout=options["layout"],
        wanted=wanted,
        classes=read_classes(options["classes"]) if options["classes"] else (),
        passage_words=options["passage_words"],
        split=options["split_name"],
        resize=Resize(options["resize"], options["resize_side"]) if options["resize"] else None,
        max_bad=options["max_bad"],
        workers=options["workers"],
        shard_bytes=options["shard_mb"] * 1_000_000,
        shard_samples=options["shard_samples"],
    )
    return (pack_shards if holds_shards(source) else pack), chosen


def read_classes(file: Path) -> tuple[str, ...]:
    """A class a line.

    Raises:
        ConfigError: no such file, nothing in it, or a class that stands twice.
    """
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--classes: {file}: {error}; name a text file with a class a line") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice:
        told = f"names {twice!r} twice" if twice else "is empty"
        raise ConfigError(f"--classes: {file} {told}; write each class in a line of its own")
    return tuple(names)
