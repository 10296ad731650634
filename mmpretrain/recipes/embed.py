"""Vectors of a gallery in the layout of clip-retrieval, which its index and its readers take.

OUT/img_emb/img_emb_0.npy              rows x width, fp16 as clip-retrieval's or fp32, of unit length
OUT/text_emb/text_emb_0.npy            of the captions, where every picture has one
OUT/metadata/metadata_0.parquet        image_path, caption, key, and where the picture stands
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import folder_in_one_step, sync
from mmpretrain.core.installed import require
from mmpretrain.core.precision import WeightPrecision
from mmpretrain.data.samples import Limits
from mmpretrain.recipes.embedding import embedded
from mmpretrain.recipes.gallery import open_gallery
from mmpretrain.recipes.looks import Facts, plural, say
from mmpretrain.recipes.served.folder import open_folder, require_vectors
from mmpretrain.searching.vector_file import VectorFile
from mmpretrain.serving.served import Served

PARQUET_ROWS = 50_000
"""Of metadata, in memory at a time."""
COLUMNS = ("image_path", "caption", "key", "split", "shard", "row")


def embed(
    folder: Path, data: str, out: Path, kind: str, console: Console, precision: WeightPrecision | None = None
) -> Facts:
    """Embed every picture of a dataset, a split or a folder, and its caption.

    Args:
        folder: a run, or an exported one.
        kind: of the numbers: float16 or float32.
        precision: of a run's weights; None: fp32.

    Raises:
        ConfigError: the run gives no vectors, a package is missing, or `out` exists.
        DataError: no picture can be read.
    """
    require(["pyarrow"], "embed", "pack")
    if out.exists():
        raise ConfigError(f"--out: {out} exists; name another folder")
    served = open_folder(folder, precision=precision)
    require_vectors(served)
    gallery = open_gallery(data, Limits(), None, console)
    began = time.perf_counter()
    with folder_in_one_step(out) as temporary:
        for name in ("img_emb", "text_emb", "metadata"):
            (temporary / name).mkdir()
        texts, count = write_batches(served, gallery, temporary, kind, console)
        if not texts:
            (temporary / "text_emb" / "text_emb_0.npy").unlink()
            (temporary / "text_emb").rmdir()
    seconds = time.perf_counter() - began
    told = "" if texts else "; not every picture has a caption, so there are none of texts"
    say(console, f"{out}: vectors of {plural(count, 'picture')}, {served.facts.width} numbers each{told}")
    return {
        "run": str(folder),
        "step": served.facts.step,
        "digest": served.facts.digest,
        "data": gallery.source,
        "pictures": count,
        "texts": texts,
        "left_out": gallery.left_out.count,
        "width": served.facts.width,
        "seconds": round(seconds, 3),
        "out": str(out),
    }


def write_batches(served: Served, gallery: Any, folder: Path, kind: str, console: Console) -> tuple[int, int]:
    """All files; returns how many texts and pictures there are, texts only where each picture has one."""
    texts = 0
    with ExitStack() as stack:
        images = stack.enter_context(VectorFile(folder / "img_emb" / "img_emb_0.npy", kind))
        captions = stack.enter_context(VectorFile(folder / "text_emb" / "text_emb_0.npy", kind))
        add = stack.enter_context(Metadata(folder / "metadata" / "metadata_0.parquet"))
        for image_BE, items in embedded(served, gallery, console):
            images.add(image_BE)
            spoken = [item["caption"] for item in items if item["caption"]]
            if len(spoken) == len(items) and texts == images.rows - len(items):
                captions.add(served.embed_texts(spoken))
                texts += len(items)
            add(items)
        if not captions.rows:
            captions.add(np.zeros((0, served.facts.width)))
    return (texts if texts == images.rows else 0), images.rows


class Metadata:
    """A parquet file that grows by groups of rows."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {name: pa.int64() if name == "row" else pa.string() for name in COLUMNS}
        self._schema = pa.schema(list(kinds.items()))
        self._writer = pq.ParquetWriter(path, self._schema)
        self._path = path
        self._table: Callable[..., Any] = pa.Table.from_pylist
        self._held: list[dict[str, Any]] = []

    def __enter__(self) -> "Metadata":
        return self

    def __exit__(self, *raised: object) -> None:
        self._write()
        self._writer.close()
        sync(self._path)

    def __call__(self, items: list[dict[str, Any]]) -> None:
        self._held += [{name: spelled(item, name) for name in COLUMNS} for item in items]
        if len(self._held) >= PARQUET_ROWS:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(self._table(self._held, schema=self._schema))
        self._held = []


def spelled(item: dict[str, Any], name: str) -> Any:
    """A column; in tars clip-retrieval calls a picture by its key."""
    value = item.get(name, item["key"] if name == "image_path" else None)
    # names in foreign tars need not be text
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
