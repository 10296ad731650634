"""Toy pictures with masks: red boxes on black."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import write_card, write_tar

SIDE = 24
CLASSES = ["ground", "thing"]


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A red box on black, and 1 where the box is."""
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[2 + number % 5 : 14, 3 : 12 + number % 7] = 1
    return np.stack([mask * 255, mask * 0, mask * 0], axis=2), mask


def pack_boxes(folder: Path, train: int = 12, val: int = 0) -> Path:
    """A dataset of boxes; those of val are others than those of train."""
    for split, first, count in (("train", 0, train), ("val", train, val)):
        samples = []
        for number in range(first, first + count):
            picture, mask = scene(number)
            facts = json.dumps({"artist": "ada", "concept": str(number), "category": "red"}).encode()
            texts = {"txt": f"box {number}".encode(), "json": facts}
            samples.append({"__key__": f"box-{number}", "png": png(picture), "mask.png": png(mask), **texts})
        if samples:
            write_tar(folder / f"{split}-00000.tar", samples)
    splits = {"train": (["train-00000.tar"], train), "val": (["val-00000.tar"], val)}
    there = {name: found for name, found in splits.items() if found[1]}
    write_card(folder, there, mask="mask.png", mask_classes=CLASSES)
    return folder
