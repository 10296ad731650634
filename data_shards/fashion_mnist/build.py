"""Make the Fashion-MNIST shards beside this file from one pinned Debian package (31 MB, MIT licence).

    python data_shards/fashion_mnist/build.py                     # downloads with apt-get, unpacks with dpkg; no root
    python data_shards/fashion_mnist/build.py --packages FOLDER   # where the .deb file is already

Elsewhere than on Debian, fetch it from https://deb.debian.org/debian/pool/main/d/dataset-fashion-mnist/.

test is the 10,000 pictures that everybody reports on; val is 5,000 of the 60,000 others, 500 of each class, drawn by
a hash of their pixels. No picture stands twice. The package is pinned by digest; the same Pillow gives the same bytes.
"""

import gzip
import hashlib
import io
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmpretrain.data.convert.members import to_json
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.from_packages import DebianPackage, main

PACKAGES = [
    DebianPackage(
        name="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        digest="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    )
]
FOLDER = Path("usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
HELD_OUT = 500
"""Pictures of each class in val."""


class Garment(NamedTuple):
    """One picture, height x width of uint8, and its class."""

    key: str
    pixels_HW: np.ndarray
    label: str


def read_idx(file: Path) -> np.ndarray:
    """The array of an IDX file: two zeros, type (8 is uint8), number of axes, their big-endian sizes, values.

    Raises:
        ValueError: another type, or more or fewer values than the sizes say.
    """
    content = gzip.decompress(file.read_bytes())
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{file.name}: begins with {content[:3].hex(' ')}, which is no IDX file of bytes")
    axes = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_garments(folder: Path, part: str) -> list[Garment]:
    """Every picture of a part, train or t10k, in the order of the file."""
    images, labels = (read_idx(folder / f"{part}-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    pairs = zip(images, labels, strict=True)
    return [Garment(f"{part}-{row:05d}", pixels, CLASSES[label]) for row, (pixels, label) in enumerate(pairs)]


def hold_out(garments: list[Garment], each: int) -> set[str]:
    """Keys of `each` pictures of every class, drawn by a hash of their pixels."""
    by_lot = sorted(garments, key=lambda garment: hashlib.sha256(b"fashion 1" + garment.pixels_HW.tobytes()).digest())
    return {g.key for name in CLASSES for g in [garment for garment in by_lot if garment.label == name][:each]}


def members(garment: Garment) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(garment.pixels_HW).save(buffer, "PNG", optimize=True)
    return {"png": buffer.getvalue(), "txt": garment.label.encode(), "json": to_json({"label": garment.label})}


def build(root: Path, out: Path, each: int = HELD_OUT) -> tuple[Counter[str], Counter[str]]:
    """Write the shards; returns samples by split, and nothing left out."""
    known, test = (read_garments(root / FOLDER, part) for part in ("train", "t10k"))
    held_out = hold_out(known, each)
    splits = {
        "train": [garment for garment in known if garment.key not in held_out],
        "val": [garment for garment in known if garment.key in held_out],
        "test": test,
    }
    for split, garments in splits.items():
        with ShardWriter(out, split) as writer:
            for garment in garments:
                writer.write(garment.key, members(garment))
    return Counter({split: len(garments) for split, garments in splits.items()}), Counter()


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, PACKAGES, "pictures", build)
