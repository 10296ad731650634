"""From the options of the command line to what packing takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.data.convert.columns import Wanted
from mmpretrain.data.convert.examine import Resize
from mmpretrain.recipes.pack import Pack, pack
from mmpretrain.recipes.pack_shards import holds_shards, pack_shards


def pack_options(source: Path, options: dict[str, Any]) -> tuple[Callable[[Pack, Console], None], Pack]:
    """The recipe for this source, and its settings."""
    wanted = Wanted(
        separator=options["separator"],
        encoding=options["encoding"],
        image_column=options["image_column"],
        caption_columns=options["caption_column"],
        label_column=options["label_column"],
        answer_column=options["answer_column"],
        follow_links=options["follow_links"],
    )
    chosen = Pack(
        source=source,
        captions=options["captions"],
        out=options["out"],
        layout=options["layout"],
        wanted=wanted,
        passage_words=options["passage_words"],
        split=options["split_name"],
        resize=Resize(options["resize"], options["resize_side"]) if options["resize"] else None,
        max_bad=options["max_bad"],
        workers=options["workers"],
        shard_bytes=options["shard_mb"] * 1_000_000,
        shard_samples=options["shard_samples"],
    )
    return (pack_shards if holds_shards(source) else pack), chosen
