"""Re-make the emoji shards beside this file from their pinned sources.

    pip install -e ".[shards]"
    python data_shards/emoji/build.py                         # what is committed: base concepts, 64 px
    python data_shards/emoji/build.py --out /tmp/e128 --size 128 --variants

Pictures are the SVGs of four npm packages (needs `npm` on the PATH), rasterised by resvg on white; names are
the Unicode CLDR short names of the PyPI package `emoji`. Every source is pinned by version and digest, so the
same command gives the same bytes. One tar an artist and split: licences stay apart, and any tool can pick a
split by file name.
"""

import argparse
import base64
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import emoji
import resvg_py
import webdataset
from PIL import Image

EMOJI_VERSION, RESVG_VERSION = "2.16.0", "0.5.0"
SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
DROPPED_CATEGORIES = frozenset({"Component", "Extras Unicode", "Extras Openmoji"})
LANGUAGES = ("en", "es", "ja", "ko", "pt", "it", "fr", "de", "fa", "id", "zh", "ru", "tr", "ar")
HELD_OUT = 0.1
"""Share of the concepts in val, and again in test."""


@dataclass(frozen=True)
class Artist:
    name: str
    package: str
    integrity: str
    licence: str


ARTISTS = (
    Artist(
        "noto",
        "@iconify-json/noto@1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0",
    ),
    Artist(
        "twemoji",
        "@iconify-json/twemoji@1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0",
    ),
    Artist(
        "openmoji",
        "@iconify-json/openmoji@1.2.29",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        "CC-BY-SA-4.0",
    ),
    Artist(
        "fluent",
        "@iconify-json/fluent-emoji-flat@1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT",
    ),
)


@dataclass(frozen=True)
class Pair:
    """One picture of one concept by one artist, with its names."""

    artist: Artist
    concept: str
    category: str
    captions: dict[str, str]
    png: bytes
    pixels: str

    @property
    def key(self) -> str:
        return f"{self.artist.name}-{self.concept}"

    @property
    def base(self) -> str:
        """The concept without skin tones: variants of one concept share it."""
        return "-".join(code for code in self.concept.split("-") if code not in SKIN_TONES)


def download(artist: Artist, folder: Path) -> dict[str, dict]:
    """The three JSON files of one npm package, after its SHA-512 is checked."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), artist.package]
    archive = folder / subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != artist.integrity:
        raise SystemExit(f"{artist.package}: SHA-512 is {found}, expected {artist.integrity}")
    with tarfile.open(archive) as tar:
        names = ("icons", "chars", "metadata")
        return {name: json.load(tar.extractfile(f"package/{name}.json")) for name in names}  # type: ignore[arg-type]


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


def rasterise(icon: dict, size: int, sheet: dict) -> Image.Image:
    """An iconify icon as an RGB picture on white, size x size."""
    width, height = (icon.get(side, sheet.get(side, 16)) for side in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{size}" height="{size}">{icon["body"]}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGB")


def pairs_of(artist: Artist, sources: dict[str, dict], size: int, variants: bool) -> Iterator[Pair]:
    """Every pair of one artist, in the order of code points."""
    names = names_by_concept()
    icons = sources["icons"]["icons"]
    categories = {icon: name for name, members in sources["metadata"]["categories"].items() for icon in members}
    for codes, icon in sorted(sources["chars"].items()):
        concept, category = without_presentation(codes), categories.get(icon)
        if category is None or category in DROPPED_CATEGORIES or concept not in names or icon not in icons:
            continue
        if not variants and SKIN_TONES & set(concept.split("-")):
            continue
        picture = rasterise(icons[icon], size, sources["icons"])
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        # openmoji writes "Food Drink" where the others write "Food & Drink"
        category = category if "&" in category else category.replace(" ", " & ", 1)
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        yield Pair(artist, concept, category, names[concept], buffer.getvalue(), pixels)


def split_by_group(pairs: list[Pair]) -> dict[str, str]:
    """train, val or test for each base concept: concepts that share a picture or a name go together."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for pair in pairs:
        for other in (f"pixels {pair.pixels}", f"caption {pair.captions['en']}"):
            parent[root(other)] = root(pair.base)
    members: dict[str, list[str]] = {}
    for base in sorted({pair.base for pair in pairs}):
        members.setdefault(root(base), []).append(base)
    groups = sorted(members.values(), key=lambda group: hashlib.sha256(f"emoji 1 {group[0]}".encode()).digest())
    held_out = round(HELD_OUT * len(groups))
    names = ["test"] * held_out + ["val"] * held_out + ["train"] * (len(groups) - 2 * held_out)
    return {base: name for group, name in zip(groups, names, strict=True) for base in group}


def write_shards(pairs: list[Pair], folder: Path) -> dict[str, int]:
    """Write one tar an artist and split; returns the number of samples by file name."""
    splits = split_by_group(pairs)
    shards: dict[str, list[Pair]] = {}
    for pair in pairs:
        shards.setdefault(f"{pair.artist.name}-{splits[pair.base]}-00000.tar", []).append(pair)
    for name, members in sorted(shards.items()):
        with webdataset.TarWriter(str(folder / name), mtime=0, user="", group="", encoder=False) as tar:
            for pair in members:
                tar.write({"__key__": pair.key, "png": pair.png, **texts(pair)})
    return {name: len(members) for name, members in sorted(shards.items())}


def texts(pair: Pair) -> dict[str, bytes]:
    facts = {
        "artist": pair.artist.name,
        "concept": pair.concept,
        "category": pair.category,
        "licence": pair.artist.licence,
        "captions": pair.captions,
    }
    compact = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    return {"txt": pair.captions["en"].encode(), "json": compact.encode()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the tars")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
    parser.add_argument("--variants", action="store_true", help="also the skin-tone variants (the full set)")
    options = parser.parse_args()
    if emoji.__version__ != EMOJI_VERSION or resvg_py.__version__ != RESVG_VERSION:
        raise SystemExit(f"needs emoji {EMOJI_VERSION} and resvg_py {RESVG_VERSION}: pip install -e '.[shards]'")
    options.out.mkdir(parents=True, exist_ok=True)
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as cache:
        for artist in ARTISTS:
            found = list(pairs_of(artist, download(artist, Path(cache)), options.size, options.variants))
            duplicates = len(found) - len({pair.pixels for pair in found})
            print(f"{artist.name:9s} {len(found):6d} pairs, {duplicates} pixel duplicates")
            pairs += found
    print(f"{len(pairs)} pairs of {len({pair.concept for pair in pairs})} concepts")
    for name, count in write_shards(pairs, options.out).items():
        print(f"{name:28s} {count:5d} samples {(options.out / name).stat().st_size / 1e6:6.2f} MB")
    print(f"next: mmpretrain data index {options.out}")


if __name__ == "__main__":
    main()
