"""Make the Open Clip Art shards beside this file from two pinned Debian packages (156 MB, public domain).

    python data_shards/openclipart/build.py                     # downloads with apt-get, unpacks with dpkg; no root
    python data_shards/openclipart/build.py --packages FOLDER   # where the two .deb files are already

Elsewhere than on Debian, fetch both from https://deb.debian.org/debian/pool/main/o/openclipart/.

Pictures are the PNGs of openclipart-png, at most 256 px, over white; captions are the titles in the metadata of
openclipart-svg, or the words of the file name where a title names only the collection; tags, description and
artist go into the JSON member. Pictures that look alike and titles that differ by digits only stay on one side
of the split. The packages are pinned by digest; the same Pillow gives the same bytes.
"""

import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmpretrain.data.convert.examine import Examined, examine
from mmpretrain.data.convert.merge import Merge, Merged
from mmpretrain.data.convert.picture import FilePicture, files_below
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits, open_image, to_rgb
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.from_packages import DebianPackage, main

VERSION = "1:0.18+dfsg-19"
PACKAGES = [
    DebianPackage(
        name="openclipart-png",
        version=VERSION,
        digest="f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    ),
    DebianPackage(
        name="openclipart-svg",
        version=VERSION,
        digest="989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    ),
]
FOLDER = Path("usr/share/openclipart")
"""With png/ and svg/ in it."""
LIMITS = ImageLimits(min_side=8, max_aspect=8.0)
SIDE = 256
HELD_OUT = 0.1
"""Share of the groups in val, and again in test."""
SHARED = 3
"""A title that more pictures have is the name of a collection, unless their file names say the same."""
ALIKE = 6
"""Bits of 256 in which the outlines of two pictures that look alike may differ."""
GENERATED = {"gramastar"}
"""Titles of pictures that a program drew: star polygons by the thousand."""
JUNK_TAGS = {"hash", "unsorted", "duplicates"}
DC = "{http://purl.org/dc/elements/1.1/}"
WORK = ".//{http://web.resource.org/cc/}Work"
ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


@dataclass(frozen=True)
class Drawing:
    """What an SVG says of itself."""

    path: str
    """Relative to the folder of SVGs, without suffix."""
    title: str
    description: str
    tags: list[str]
    artist: str


def read_drawing(file: Path, path: str) -> Drawing:
    """The metadata of an SVG.

    Raises:
        BadSample: no XML, or without metadata.
    """
    try:
        work = ET.parse(file).getroot().find(WORK)  # noqa: S314 (pinned by digest)
    except ET.ParseError as error:
        raise BadSample("damaged_svg", str(error)) from error
    if work is None:
        raise BadSample("no_metadata", "the SVG says nothing of itself")
    found = {(item.text or "").strip().replace("_", " ") for item in work.iter(ITEM)} - JUNK_TAGS - {""}
    return Drawing(
        path=path,
        title=" ".join((work.findtext(f"{DC}title") or "").split()),
        description=" ".join((work.findtext(f"{DC}description") or "").split()),
        tags=sorted(found),
        artist=" ".join((work.findtext(f"{DC}creator//{DC}title") or "").split()),
    )


def file_words(drawing: Drawing) -> list[str]:
    """The words of a file name without numbers and the artist's name, which is cut at some length there."""
    artist = re.findall(r"[^\W\d_]+", drawing.artist.casefold())
    words = re.findall(r"[^\W\d_]+", drawing.path.rpartition("/")[2].casefold())
    return [word for word in words if not any(len(word) > 1 and name.startswith(word) for name in artist)]


def plain_title(title: str) -> str:
    """A title without the sentences that collections put around it."""
    title = re.sub(r"^Clipart by [\w .]+ - ", "", title)
    title = re.sub(r"^Part of the Flat Icon Collection.*", "", title)
    return title.replace("_", " ").strip()


def captions_of(drawings: Sequence[Drawing]) -> list[str]:
    """A caption for each drawing; empty where neither title nor file name has a word."""
    titles = [plain_title(drawing.title) for drawing in drawings]
    counts = Counter(title.casefold() for title in titles)
    captions = []
    for drawing, title in zip(drawings, titles, strict=True):
        named = file_words(drawing)
        words = re.findall(r"[^\W\d_]+", title.casefold())
        if counts[title.casefold()] > SHARED and (not set(words) <= set(named) or re.search(r"\d", title)):
            title = ""
        caption = title or " ".join(named)
        captions.append(caption if re.search(r"[^\W\d_]{3}", caption) else "")
    return captions


def records_of(root: Path) -> Iterator[Record | LeftOut]:
    """Every drawing that is a file of its own, in the order of the names."""
    drawings: list[Drawing] = []
    for name in files_below(root / "svg"):
        path = name.removesuffix(".svg")
        png = root / "png" / f"{path}.png"
        if (root / "svg" / name).is_symlink() or png.is_symlink():
            yield LeftOut(path, "link", "another name of a picture that is there")
            continue
        try:
            drawing = read_drawing(root / "svg" / name, path)
        except BadSample as error:
            yield LeftOut(path, error.reason, error.detail)
            continue
        if drawing.title in GENERATED:
            yield LeftOut(path, "generated", f"one of the pictures called {drawing.title}")
        else:
            drawings.append(drawing)
    for drawing, caption in zip(drawings, captions_of(drawings), strict=True):
        facts = {"tags": drawing.tags, "description": drawing.description, "artist": drawing.artist}
        facts |= {"title": drawing.title, "category": drawing.path.partition("/")[0]}
        picture = FilePicture(str(root / "png"), f"{drawing.path}.png")
        yield Record(drawing.path, picture, [caption], {k: v for k, v in facts.items() if v})


def to_png(content: bytes) -> tuple[bytes, np.ndarray]:
    """A picture over white, its longer side at most 256 px, and its outline: 256 bits that survive resizing."""
    image = to_rgb(open_image(content, LIMITS))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    grey = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    return buffer.getvalue(), np.packbits(grey[:, 1:] > grey[:, :-1] + 1)


def look_alikes(outlines: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose outlines differ in a few bits; blank ones are not alike."""
    drawn = np.flatnonzero(np.bitwise_count(outlines).sum(axis=1) >= 4 * ALIKE)
    for place, row in enumerate(drawn):
        rest = drawn[place + 1 :]
        distance = np.bitwise_count(outlines[rest] ^ outlines[row]).sum(axis=1)
        yield from ((int(row), int(other)) for other in rest[distance <= ALIKE])


def split_of_each(samples: Sequence[Merged], pngs: Sequence[bytes], outlines: np.ndarray) -> list[str]:
    """train, val or test; pictures that are equal or look alike, and captions but for digits, go together."""
    parent = list(range(len(samples)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[object, int] = {}
    for row, (sample, png) in enumerate(zip(samples, pngs, strict=True)):
        texts = [" ".join(re.findall(r"[^\W\d_]+", text.casefold())) or text for text in sample.captions]
        for thing in (hashlib.sha256(png).digest(), *texts):
            parent[root(row)] = root(first.setdefault(thing, row))
    for row, other in look_alikes(outlines):
        parent[root(row)] = root(other)
    groups: dict[int, list[int]] = {}
    for row in range(len(samples)):
        groups.setdefault(root(row), []).append(row)
    # the largest groups train: one of them alone could fill a held-out split with a single theme
    by_lot = sorted(groups.values(), key=lambda rows: hashlib.sha256(samples[rows[0]].origin.encode()).digest())
    small = [rows for rows in by_lot if len(rows) <= 20]
    held_out = round(HELD_OUT * len(small))
    splits = ["train"] * len(samples)
    for place, rows in enumerate(small[: 2 * held_out]):
        for row in rows:
            splits[row] = "test" if place < held_out else "val"
    return splits


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write the shards; returns samples by split and what was left out by reason."""
    records = list(records_of(root))
    examined: dict = {r.picture: examine(r.picture, LIMITS) for r in records if isinstance(r, Record) and r.picture}
    merge = Merge(joins=True, label=None, split="train")
    samples = list(merge.samples(records, examined))
    drawn = [to_png(sample.picture.read(LIMITS.max_bytes)) for sample in samples if sample.picture]
    pngs, outlines = [png for png, _ in drawn], np.stack([outline for _, outline in drawn])
    splits = split_of_each(samples, pngs, outlines)
    for split in ("train", "val", "test"):
        with ShardWriter(out, split) as writer:
            for sample, png, own in zip(samples, pngs, splits, strict=True):
                if own == split:
                    writer.write(sample.origin.replace("/", "-").replace(".", "-"), {"png": png, **texts(sample)})
    return Counter({split: splits.count(split) for split in ("train", "val", "test")}), merge.reasons


def texts(sample: Merged) -> dict[str, bytes]:
    assert isinstance(sample.examined, Examined)
    facts = {"captions": sample.captions, "origin": f"{sample.origin}.png", **sample.facts}
    facts |= {"sha256": sample.examined.digest.hex(), "joined": sample.joined}
    compact = json.dumps({k: v for k, v in facts.items() if v}, ensure_ascii=False, separators=(",", ":"))
    return {"txt": sample.first.encode(), "json": compact.encode()}


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, PACKAGES, "pairs", lambda root, out: build(root / FOLDER, out))
