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
import json
import tempfile
from pathlib import Path

import webdataset

from mmpretrain.core.errors import DataError
from mmpretrain.recipes.sources.from_emoji import ARTISTS, PACKAGES, Pair, every_drawing, split_by_group, to_pair
from mmpretrain.recipes.sources.from_packages import download, unpack


def write_shards(pairs: list[Pair], folder: Path) -> dict[str, int]:
    """Write one tar an artist and split; returns the number of samples by file name."""
    splits = split_by_group(pairs)
    shards: dict[str, list[Pair]] = {}
    for pair in pairs:
        shards.setdefault(f"{pair.drawing.artist.name}-{splits[pair.drawing.base]}-00000.tar", []).append(pair)
    for name, members in sorted(shards.items()):
        with webdataset.TarWriter(str(folder / name), mtime=0, user="", group="", encoder=False) as tar:
            for pair in members:
                tar.write({"__key__": pair.drawing.key, "png": pair.png, **texts(pair)})
    return {name: len(members) for name, members in sorted(shards.items())}


def texts(pair: Pair) -> dict[str, bytes]:
    facts = {
        "artist": pair.drawing.artist.name,
        "concept": pair.drawing.concept,
        "category": pair.drawing.category,
        "licence": pair.drawing.artist.licence,
        "captions": pair.drawing.captions,
    }
    compact = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    return {"txt": pair.drawing.captions["en"].encode(), "json": compact.encode()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the tars")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
    parser.add_argument("--variants", action="store_true", help="also the skin-tone variants (the full set)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as cache:
            download(PACKAGES, Path(cache))
            root = unpack(PACKAGES, Path(cache), Path(cache) / "files")
            pairs = [to_pair(drawing, options.size) for drawing in every_drawing(root, options.variants)]
    except DataError as error:
        raise SystemExit(f"error: {error}") from error
    for artist in ARTISTS:
        found = [pair for pair in pairs if pair.drawing.artist == artist]
        duplicates = len(found) - len({pair.pixels for pair in found})
        print(f"{artist.name:9s} {len(found):6d} pairs, {duplicates} pixel duplicates")
    print(f"{len(pairs)} pairs of {len({pair.drawing.concept for pair in pairs})} concepts")
    for name, count in write_shards(pairs, options.out).items():
        print(f"{name:28s} {count:5d} samples {(options.out / name).stat().st_size / 1e6:6.2f} MB")
    print(f"next: mmpretrain data index {options.out}")


if __name__ == "__main__":
    main()
