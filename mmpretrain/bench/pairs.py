"""Pairs that both trainers learn from: JPEGs of 512 x 384 with captions of 5 to 20 words, as a tar."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmpretrain.bench.data import write_pictures

SIZE = (512, 384)
TEXT = (
    "a the of on in with near under two three small large old red blue green white wooden stone dog bird temple flower "
    "river bridge garden street boat mountain tree window light morning summer people walking standing"
)
WORDS = TEXT.split()
FEWEST, MOST = 5, 20


def write_pairs(folder: Path, count: int) -> Path:
    """A dataset of so many pairs; its tar is what open_clip reads as well."""
    return write_pictures(folder, SIZE, count, captions())


def captions() -> Iterator[str]:
    """Endlessly; lengths are even between the fewest and the most words."""
    draw = np.random.default_rng(0)
    while True:
        yield " ".join(draw.choice(WORDS, int(draw.integers(FEWEST, MOST + 1))))
