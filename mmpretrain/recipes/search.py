"""Indexes of pictures in the folder of the model that embedded them, and what is found in them."""

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from torchvision.transforms.v2.functional import to_pil_image

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.installed import is_there
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.captions import clean_caption
from mmpretrain.data.convert.picture import FilePicture
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits
from mmpretrain.data.samples import Limits
from mmpretrain.recipes.embedding import embedded
from mmpretrain.recipes.gallery import Gallery, open_gallery
from mmpretrain.recipes.looks import Facts, plural, say, write
from mmpretrain.recipes.served.folder import digest_of_folder, open_folder, require_model, require_vectors
from mmpretrain.searching.index_files import FOLDER, IndexFiles, index_folders, write_index
from mmpretrain.searching.nearest import LARGE, nearest
from mmpretrain.searching.page import Found, page
from mmpretrain.searching.thumbnails import png
from mmpretrain.serving.served import Hit, Index, Served

THUMBNAIL = 160
"""Pixels of the longer side, on the page."""
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


def build_index(folder: Path, name: str, data: str, console: Console) -> Facts:
    """Embed a gallery into `FOLDER/search/NAME`, in place of what is there.

    Args:
        name: of the index; without `data` also what is embedded.
        data: a dataset, NAME:SPLIT, or a folder of pictures; empty: `name`.

    Raises:
        ConfigError: the model gives no vectors, there is no such data, or the name is none.
        DataError: no picture can be read.
    """
    data, name = data or name, short_name(name)
    served = open_folder(folder)
    require_vectors(served)
    gallery = open_gallery(data, Limits(), None, console)
    place = folder / FOLDER / name
    place.parent.mkdir(exist_ok=True)
    with write_index(place) as fresh:
        for image_BE, items in embedded(served, gallery, console):
            fresh.add(image_BE, items)
        facts = {
            "model": str(folder),
            "digest": served.facts.digest,
            "step": served.facts.step,
            "data": gallery.source,
            "width": served.facts.width,
            "left_out": gallery.left_out.count,
        }
        fresh.end(facts)
    if fresh.count > LARGE and not is_there("faiss"):
        say(console, 'note: with pip install -e ".[search]" faiss searches so many several times faster')
    say(console, f'{place}: {plural(fresh.count, "picture")}; next: mmpretrain search {folder} "red bird"')
    return {**facts, "name": name, "count": fresh.count, "out": str(place)}


def short_name(name: str) -> str:
    """Of the folder: a split's with - for its colon, a folder's without those above it.

    Raises:
        ConfigError: nothing is left of it that a folder could be called.
    """
    short = name.rstrip("/").rpartition("/")[2].replace(":", "-")
    if not _NAME.fullmatch(short) or short.startswith("."):
        raise ConfigError(
            f"NAME: {name!r} cannot name an index; use letters, numbers, - and _, and --data for the rest"
        )
    return short


def search(
    folder: Path, text: str, picture: Path | None, index: str, top: int, out: Path | None, console: Console
) -> Facts:
    """The pictures of an index that are most like a text or a picture.

    Args:
        index: by name; empty: the only one.
        out: an HTML page to write; None: none.

    Raises:
        ConfigError: no such index, or it was made with other weights.
        DataError: the picture cannot be read, or the text is empty.
    """
    if bool(text) == (picture is not None):
        raise ConfigError("search: give a text or --picture FILE to look for, one of them")
    require_model(folder)
    indexes = open_indexes(folder)
    chosen = choose(folder, indexes, index)
    if chosen.problem:
        raise ConfigError(chosen.problem)
    served = open_folder(folder)
    vector_E = vector_of(served, text, picture)
    hits = chosen.nearest(vector_E, top)
    asked = text or str(picture)
    console.print(table(asked, hits))
    if out is not None:
        found = [Found(hit.score, hit.facts["key"], hit.facts.get("caption") or "", small(chosen, hit)) for hit in hits]
        told = f"{plural(chosen.count, 'picture')} of {chosen.source}, by {folder} at step {served.facts.step}"
        write(out, page(asked, told, found))
        say(console, f"{out}: open it in a browser")
    return {
        "run": str(folder),
        "index": chosen.name,
        "count": chosen.count,
        "asked": asked,
        "found": [{"place": hit.place, "score": hit.score, **hit.facts} for hit in hits],
        **({"page": str(out)} if out else {}),
    }


def vector_of(served: Served, text: str, picture: Path | None) -> np.ndarray:
    try:
        if picture is None:
            return np.asarray(served.embed_texts([clean_caption(text)])[0])
        limits = ImageLimits()
        content = FilePicture(str(picture.parent), picture.name, True).read(limits.max_bytes)
        return np.asarray(served.embed_pictures([served.prepare(content, limits.max_pixels)])[0])
    except BadSample as bad:
        raise DataError(f"{picture or 'text'}: {bad.reason}: {bad.detail}") from bad


def small(index: Index, hit: Hit) -> bytes:
    """Its thumbnail; nothing where the picture is no longer there."""
    try:
        return index.thumbnail(hit.place, THUMBNAIL)
    except BadSample:
        return b""


def choose(folder: Path, indexes: Mapping[str, Index], name: str) -> Index:
    """The index of that name, or the only one.

    Raises:
        ConfigError: there is none, or there are several and none is named.
    """
    if not indexes:
        raise ConfigError(f"{folder}: has no index; make one: mmpretrain search index {folder} NAME")
    if name and name not in indexes:
        raise ConfigError(f"--index: {folder} has no index {name!r}{did_you_mean(name, indexes)}")
    if not name and len(indexes) > 1:
        raise ConfigError(f"--index: {folder} has several; name one of {', '.join(indexes)}")
    return indexes[name or next(iter(indexes))]


def open_indexes(folder: Path) -> dict[str, Index]:
    """All that a run or an export has, by name."""
    folders = index_folders(folder)
    digest = digest_of_folder(folder) if folders else ""
    return {each.name: OpenIndex(IndexFiles(each), folder, digest) for each in folders}


class OpenIndex:
    """See `serving.served.Index`.

    Args:
        digest: of the weights that ask.
    """

    def __init__(self, files: IndexFiles, model: Path, digest: str) -> None:
        self._files = files
        self._pictures: Gallery | None = None
        self._one_at_a_time = threading.Lock()
        self.name = files.folder.name
        self.count = files.count
        self.source = str(files.facts["data"])
        self.problem = "" if files.facts["digest"] == digest else stale(files, model)

    def nearest(self, vector_E: np.ndarray, count: int) -> list[Hit]:
        (place_K,), (score_K,) = nearest(self._files.vectors_NE, vector_E[None], count)
        pairs = zip(place_K.tolist(), score_K.tolist(), strict=True)
        return [Hit(place, score, self._files.item(place)) for place, score in pairs]

    def thumbnail(self, place: int, side: int) -> bytes:
        item = self._files.item(place)
        with self._one_at_a_time:
            if self._pictures is None:
                try:
                    self._pictures = open_gallery(self.source, Limits(), None, Console(quiet=True))
                except (ConfigError, DataError) as error:
                    raise BadSample("missing_data", str(error)) from error
            image = self._pictures.picture(item)
        return png(to_pil_image(image), side)


def stale(files: IndexFiles, model: Path) -> str:
    """Why an index is not asked, with the command that makes it again."""
    return (
        f"{files.folder}: was made with other weights (step {files.facts['step']}); make it again: mmpretrain search "
        f"index {model} {files.folder.name} --data {files.facts['data']}"
    )


def table(asked: str, hits: Sequence[Hit]) -> Table:
    """What was found, with bars."""
    shown = Table("", "score", "", "key", "caption", box=box.SIMPLE_HEAD, title=asked)
    for place, hit in enumerate(hits, start=1):
        bar = "█" * round(20 * max(0.0, hit.score))
        facts: Any = hit.facts
        shown.add_row(str(place), f"{hit.score:.3f}", bar, facts["key"], facts.get("caption") or "")
    return shown
