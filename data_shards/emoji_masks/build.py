"""Make the shards beside this file: emoji on textures and clutter, with a mask of each, from pinned npm packages.

    pip install -e ".[shards]"
    python data_shards/emoji_masks/build.py                     # needs `npm` on the PATH
    python data_shards/emoji_masks/build.py --packages FOLDER   # where the four .tgz files are already

Each picture holds one emoji, scaled and placed by lot, on a background that is drawn for it: noise, stripes, checks,
or a heap of shapes in front of one of these. The mask is the alpha of the SVG, cut at a half: 1 on the emoji, 0 beside
it. Splits are those of data_shards/emoji, so that a run on emoji:train never saw a concept of val or test. All draws
are functions of the sample's key; the same Pillow gives the same bytes.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mmpretrain.core.counter import counter_hash, name_to_int
from mmpretrain.data.convert.members import to_json
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.from_emoji import PACKAGES, Drawing, every_drawing, splits_of_emoji, to_png
from mmpretrain.recipes.sources.from_packages import main

EMOJI = Path(__file__).parents[1] / "emoji"
"""Whose shards say which concept is in which split."""
SIDE = 64
SIZES = (26, 50)
"""Smallest and largest side of an emoji in pixels."""
FINER = 4
"""Shapes are drawn this many times larger and averaged, so that their edges are as soft as those of an emoji."""
LEAST = 0.15
"""Share of its square that an emoji has to cover: thinner ones are mostly edge."""
LEFT_OUT = ("Symbols", "Flags")
"""A square with a sign in it is no more an object than the shapes behind it are."""
SPLITS = {"train": 400, "val": 100, "test": 300}
UNSEEN = ("fluent", 200)
"""An artist kept apart, with concepts of train."""


class Draws:
    """Whole numbers, each a function of a name and of how many were drawn before it."""

    def __init__(self, name: str) -> None:
        self._key = name_to_int(name)
        self._count = 0

    def between(self, low: int, high: int) -> int:
        """From low to high, both included."""
        self._count += 1
        return low + int(counter_hash(self._key, self._count) % np.uint64(high - low + 1))

    def colour(self) -> tuple[int, int, int]:
        return self.between(0, 255), self.between(0, 255), self.between(0, 255)

    def colours(self, height: int, width: int) -> np.ndarray:
        """uint8, height x width x 3."""
        self._count += 1
        hashes = counter_hash(self._key, self._count, np.arange(height * width * 3))
        return (hashes >> np.uint64(56)).astype(np.uint8).reshape(height, width, 3)


def noise(draws: Draws) -> Image.Image:
    """Clouds of colour at three scales."""
    picture = None
    for cells, share in ((3, 1.0), (8, 0.4), (24, 0.25)):
        cloud = Image.fromarray(draws.colours(cells, cells)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture = cloud if picture is None else Image.blend(picture, cloud, share)
    assert picture is not None
    return picture


def stripes(draws: Draws) -> Image.Image:
    """Two colours in turn, at some angle, with grain."""
    along, down, width = draws.between(-3, 3), draws.between(1, 3), draws.between(4, 24)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return grained((columns * along + rows * down) // width % 2, draws)


def checks(draws: Draws) -> Image.Image:
    """A board of two colours, with grain."""
    width, height = draws.between(4, 16), draws.between(4, 16)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return grained((columns // width + rows // height) % 2, draws)


def grained(pattern_HW: np.ndarray, draws: Draws) -> Image.Image:
    """0 and 1 in two colours, a fifth of each pixel left to chance."""
    colours = np.array([draws.colour(), draws.colour()], dtype=np.uint8)
    return Image.blend(Image.fromarray(colours[pattern_HW]), Image.fromarray(draws.colours(SIDE, SIDE)), 0.2)


TEXTURES = {"noise": noise, "stripes": stripes, "checks": checks}


def texture(draws: Draws) -> tuple[str, Image.Image]:
    """One of the textures, by lot, and its name."""
    name = sorted(TEXTURES)[draws.between(0, len(TEXTURES) - 1)]
    return name, TEXTURES[name](draws)


def clutter(draws: Draws) -> Image.Image:
    """A heap of ellipses, boxes, triangles and lines in front of a texture."""
    side = SIDE * FINER
    picture = texture(draws)[1].resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(draws.between(8, 16)):
        kind, colour = draws.between(0, 3), draws.colour()
        left, top = draws.between(-side // 8, side), draws.between(-side // 8, side)
        right, bottom = left + draws.between(side // 12, side // 2), top + draws.between(side // 12, side // 2)
        if kind == 0:
            pen.ellipse((left, top, right, bottom), fill=colour)
        elif kind == 1:
            pen.rectangle((left, top, right, bottom), fill=colour)
        elif kind == 2:
            pen.polygon([(left, bottom), (right, bottom), (draws.between(left, right), top)], fill=colour)
        else:
            pen.line((left, top, right, bottom), fill=colour, width=draws.between(FINER, 4 * FINER))
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


class Scene(NamedTuple):
    """A picture with its mask, and what it is made of."""

    picture: Image.Image
    mask: Image.Image
    background: str
    box: tuple[int, int, int]
    """Left, top and side of the emoji's square in pixels."""


def compose(drawing: Drawing) -> Scene | None:
    """The drawing on a background of its own; None where it covers too little of its square."""
    draws = Draws(f"emoji masks 1 {drawing.key}")
    size = draws.between(*SIZES)
    figure = drawing.rasterise(size, background=None)
    inside = figure.getchannel("A").point(lambda alpha: int(alpha >= 128))
    if np.asarray(inside).mean() < LEAST:
        return None
    left, top = draws.between(0, SIDE - size), draws.between(0, SIDE - size)
    name, picture = ("clutter", clutter(draws)) if draws.between(0, 1) else texture(draws)
    picture.paste(figure, (left, top), figure)
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(inside, (left, top))
    return Scene(picture, mask, name, (left, top, size))


def by_lot(drawings: list[Drawing], splits: dict[str, str]) -> Iterator[tuple[str, Drawing]]:
    """(split, drawing) of everything that may be shown, in an order that is a function of the keys."""
    shown = [each for each in drawings if each.key in splits and each.category not in LEFT_OUT]
    for drawing in sorted(shown, key=lambda drawing: name_to_int(f"emoji masks 1 order {drawing.key}")):
        split = splits[drawing.key]
        if drawing.artist.name != UNSEEN[0]:
            yield split, drawing
        elif split == "train":
            yield "unseen", drawing


def choose(drawings: list[Drawing], splits: dict[str, str]) -> tuple[dict[str, list[tuple[Drawing, Scene]]], int]:
    """As many scenes as each split is to have, and how many drawings were too thin."""
    sizes = {**SPLITS, "unseen": UNSEEN[1]}
    chosen: dict[str, list[tuple[Drawing, Scene]]] = {split: [] for split in sizes}
    thin = 0
    for split, drawing in by_lot(drawings, splits):
        if len(chosen[split]) < sizes[split]:
            scene = compose(drawing)
            thin += scene is None
            chosen[split] += [(drawing, scene)] if scene else []
    return chosen, thin


def members(drawing: Drawing, scene: Scene) -> dict[str, bytes]:
    """The mask is a member beside the picture; every reader of WebDataset takes `KEY.mask.png` for a PNG."""
    facts: dict[str, Any] = {
        "artist": drawing.artist.name,
        "concept": drawing.concept,
        "category": drawing.category,
        "licence": drawing.artist.licence,
        "background": scene.background,
        "box": list(scene.box),
    }
    texts = {"txt": drawing.captions["en"].encode(), "json": to_json(facts)}
    return {"png": to_png(scene.picture), "mask.png": to_png(scene.mask), **texts}


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write one tar an artist and split; returns samples by split and what was left out by reason."""
    chosen, thin = choose(list(every_drawing(root, variants=False)), splits_of_emoji(EMOJI))
    for split, scenes in chosen.items():
        with ExitStack() as stack:
            artists = sorted({drawing.artist.name for drawing, _ in scenes})
            writers = {name: stack.enter_context(ShardWriter(out, f"{name}-{split}")) for name in artists}
            for drawing, scene in sorted(scenes, key=lambda pair: pair[0].key):
                writers[drawing.artist.name].write(drawing.key, members(drawing, scene))
    return Counter({split: len(scenes) for split, scenes in chosen.items()}), Counter(thin=thin)


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, PACKAGES, "pictures", build)
