"""A gallery through a model, batch by batch."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import DataError
from mmpretrain.data.transforms import Centre
from mmpretrain.recipes.gallery import Gallery, Seen
from mmpretrain.recipes.looks import plural, say
from mmpretrain.serving.served import Picture, Served

ROWS = 64
"""Pictures at a time."""


class Embedded(NamedTuple):
    """A batch."""

    image_BE: np.ndarray
    items: list[dict[str, Any]]


def embedded(served: Served, gallery: Gallery, console: Console) -> Iterator[Embedded]:
    """Every picture that can be read, with a bar on a terminal.

    Raises:
        DataError: none can.
    """
    centre, count = Centre(max(1, served.facts.size)), 0
    shown = track(gallery, "embedding", len(gallery), console=console, disable=not console.is_terminal)
    seen = iter(shown)
    while batch := list(itertools.islice(seen, ROWS)):
        image_BE = served.embed_pictures([prepared(each, centre) for each in batch])
        count += len(batch)
        yield Embedded(image_BE, [each.item for each in batch])
    left_out = gallery.left_out
    if not count:
        first = f": {left_out.named[0]}" if left_out.named else ""
        raise DataError(f"{gallery.source}: holds no picture that can be read{first}")
    if left_out.count:
        say(console, f"left out: {plural(left_out.count, 'picture')}, first {left_out.named[0]}")


def prepared(seen: Seen, centre: Centre) -> Picture:
    pixels: torch.Tensor = centre(seen.image, 0)
    return Picture(np.ascontiguousarray(pixels.numpy()), 0)
