"""What the recipes of emoji share: the drawings of four npm packages, pinned by digest, and how concepts are split.

Pictures are SVGs (needs `npm` on the PATH), rasterised by resvg; names are the Unicode CLDR short names of the PyPI
package `emoji`. Both are pinned, so the same command gives the same bytes: pip install -e ".[shards]".
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import emoji
import resvg_py
from PIL import Image

from mmpretrain.core.errors import DataError
from mmpretrain.recipes.sources.from_packages import NpmPackage

EMOJI_VERSION, RESVG_VERSION = "2.16.0", "0.5.0"
SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
DROPPED_CATEGORIES = frozenset({"Component", "Extras Unicode", "Extras Openmoji"})
LANGUAGES = ("en", "es", "ja", "ko", "pt", "it", "fr", "de", "fa", "id", "zh", "ru", "tr", "ar")
HELD_OUT = 0.1
"""Share of the concepts in val, and again in test."""


@dataclass(frozen=True)
class Artist:
    name: str
    licence: str
    package: NpmPackage


ARTISTS = (
    Artist(
        "noto",
        "Apache-2.0",
        NpmPackage(
            name="@iconify-json/noto",
            version="1.2.9",
            digest="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        ),
    ),
    Artist(
        "twemoji",
        "CC-BY-4.0",
        NpmPackage(
            name="@iconify-json/twemoji",
            version="1.2.5",
            digest="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        ),
    ),
    Artist(
        "openmoji",
        "CC-BY-SA-4.0",
        NpmPackage(
            name="@iconify-json/openmoji",
            version="1.2.29",
            digest="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        ),
    ),
    Artist(
        "fluent",
        "MIT",
        NpmPackage(
            name="@iconify-json/fluent-emoji-flat",
            version="1.2.6",
            digest="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        ),
    ),
)
PACKAGES = [artist.package for artist in ARTISTS]


@dataclass(frozen=True)
class Drawing:
    """One concept as one artist drew it, with its names."""

    artist: Artist
    concept: str
    category: str
    captions: dict[str, str]
    box: str
    """The SVG's viewBox."""
    body: str
    """What stands in the SVG."""

    @property
    def key(self) -> str:
        return f"{self.artist.name}-{self.concept}"

    @property
    def base(self) -> str:
        """The concept without skin tones: variants of one concept share it."""
        return "-".join(code for code in self.concept.split("-") if code not in SKIN_TONES)

    def rasterise(self, size: int, background: str | None = "#ffffff") -> Image.Image:
        """The drawing at size x size: RGB on a background, RGBA without one."""
        frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="{self.box}" width="{size}" height="{size}"'
        png = resvg_py.svg_to_bytes(
            svg_string=f"<svg {frame}>{self.body}</svg>",
            background=background,
            width=size,
            height=size,
            skip_system_fonts=True,
        )
        return Image.open(io.BytesIO(png)).convert("RGB" if background else "RGBA")


@dataclass(frozen=True)
class Pair:
    """One picture of one concept by one artist."""

    drawing: Drawing
    png: bytes
    pixels: str
    """SHA-256 of the decoded picture."""


def read_package(artist: Artist, root: Path) -> dict[str, dict]:
    """The three JSON files of an artist's package, unpacked below `root`."""
    folder = root / artist.package.name / "package"
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("icons", "chars", "metadata")}


def without_presentation(codes: str) -> str:
    """Code points without FE0F, which only asks for colour and differs between the sources."""
    return "-".join(code for code in codes.split("-") if code != "fe0f")


def names_by_concept() -> dict[str, dict[str, str]]:
    """CLDR short names of every emoji, by code points and language; the fully qualified spelling wins."""
    emoji.config.load_language(list(LANGUAGES))
    names: dict[str, tuple[int, dict[str, str]]] = {}
    for text, entry in emoji.EMOJI_DATA.items():
        concept = without_presentation("-".join(f"{ord(character):x}" for character in text))
        if concept not in names or entry["status"] < names[concept][0]:
            captions = {language: entry[language] for language in LANGUAGES if language in entry}
            names[concept] = entry["status"], {k: v.strip(":").replace("_", " ") for k, v in captions.items()}
    return {concept: captions for concept, (_, captions) in names.items()}


def drawings_of(artist: Artist, sources: dict[str, dict], variants: bool) -> Iterator[Drawing]:
    """Every drawing of one artist, in the order of code points.

    Args:
        variants: also those with a skin tone.
    """
    names = names_by_concept()
    icons, sheet = sources["icons"]["icons"], sources["icons"]
    categories = {icon: name for name, members in sources["metadata"]["categories"].items() for icon in members}
    for codes, name in sorted(sources["chars"].items()):
        concept, category = without_presentation(codes), categories.get(name)
        if category is None or category in DROPPED_CATEGORIES or concept not in names or name not in icons:
            continue
        if not variants and SKIN_TONES & set(concept.split("-")):
            continue
        # openmoji writes "Food Drink" where the others write "Food & Drink"
        category = category if "&" in category else category.replace(" ", " & ", 1)
        icon = icons[name]
        width, height = (icon.get(side, sheet.get(side, 16)) for side in ("width", "height"))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        yield Drawing(artist, concept, category, names[concept], box, icon["body"])


def every_drawing(root: Path, variants: bool) -> Iterator[Drawing]:
    """Every drawing of every artist whose package is unpacked below `root`.

    Raises:
        DataError: what rasterises and names is not the pinned version.
    """
    if emoji.__version__ != EMOJI_VERSION or resvg_py.__version__ != RESVG_VERSION:
        raise DataError(f"needs emoji {EMOJI_VERSION} and resvg_py {RESVG_VERSION}: pip install -e '.[shards]'")
    for artist in ARTISTS:
        yield from drawings_of(artist, read_package(artist, root), variants)


def to_png(picture: Image.Image) -> bytes:
    """The same bytes for the same pixels, by the same Pillow."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def to_pair(drawing: Drawing, size: int) -> Pair:
    """The drawing as a picture on white, size x size."""
    picture = drawing.rasterise(size)
    return Pair(drawing, to_png(picture), hashlib.sha256(picture.tobytes()).hexdigest())


def split_by_group(pairs: list[Pair]) -> dict[str, str]:
    """train, val or test for each base concept: concepts that share a picture or a name go together."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for pair in pairs:
        for other in (f"pixels {pair.pixels}", f"caption {pair.drawing.captions['en']}"):
            parent[root(other)] = root(pair.drawing.base)
    members: dict[str, list[str]] = {}
    for base in sorted({pair.drawing.base for pair in pairs}):
        members.setdefault(root(base), []).append(base)
    groups = sorted(members.values(), key=lambda group: hashlib.sha256(f"emoji 1 {group[0]}".encode()).digest())
    held_out = round(HELD_OUT * len(groups))
    names = ["test"] * held_out + ["val"] * held_out + ["train"] * (len(groups) - 2 * held_out)
    return {base: name for group, name in zip(groups, names, strict=True) for base in group}


def splits_of_emoji(folder: Path) -> dict[str, str]:
    """The split of each key of data_shards/emoji."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.tar")):
        split = path.name.split("-")[1]
        with tarfile.open(path) as tar:
            found |= {name.partition(".")[0]: split for name in tar.getnames()}
    return found
