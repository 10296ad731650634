"""Many small pictures with a few words below each, as one picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

LARGEST_TILE = 160
"""Pixels that a picture may take on the sheet; larger ones are scaled down."""
SMALLEST_TILE = 96
"""Smaller ones are enlarged by whole factors, so that single pixels stay visible."""
MARGIN = 10
FONT_SIZE = 11
INK, MUTED, PAGE, EDGE = "#1c2430", "#5b6675", "#f6f7f9", "#c5ccd4"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of the sheet."""

    image: Image.Image
    title: str
    """One line; the others may take several."""
    lines: Sequence[str]


def draw_sheet(heading: str, tiles: Sequence[Tile], columns: int, text_rows: int = 4) -> Image.Image:
    """The tiles in rows below a heading.

    Args:
        text_rows: lines of text below each picture; what does not fit ends in an ellipsis.
    """
    font = _font(FONT_SIZE)
    images = [scaled(tile.image) for tile in tiles]
    side = max([SMALLEST_TILE, *(max(image.size) for image in images)])
    width, step = side + MARGIN, round(FONT_SIZE * 1.35)
    height = side + (text_rows + 1) * step + MARGIN
    rows = -(-len(tiles) // columns)
    top = 3 * step
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + top + MARGIN), PAGE)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), heading, INK, _font(FONT_SIZE + 3))
    letters = max(8, int(side / (0.56 * FONT_SIZE)))
    for place, (tile, image) in enumerate(zip(tiles, images, strict=True)):
        left, upper = MARGIN + place % columns * width, top + place // columns * height
        sheet.paste(image, (left, upper))
        draw.rectangle((left - 1, upper - 1, left + image.width, upper + image.height), outline=EDGE)
        below = upper + side + 4
        draw.text((left, below), textwrap.shorten(tile.title, letters, placeholder="…"), MUTED, font)
        for number, line in enumerate(wrapped(tile.lines, letters, text_rows), start=1):
            draw.text((left, below + number * step), line, INK, font)
    return sheet


def scaled(image: Image.Image) -> Image.Image:
    """A picture at the size of a tile."""
    if max(image.size) > LARGEST_TILE:
        image = image.copy()
        image.thumbnail((LARGEST_TILE, LARGEST_TILE), Image.Resampling.LANCZOS)
        return image
    factor = -(-SMALLEST_TILE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def wrapped(texts: Sequence[str], letters: int, rows: int) -> list[str]:
    """Texts broken at `letters`, `rows` lines at most."""
    lines = [line for text in texts for line in textwrap.wrap(text, letters) or [""]]
    return lines if len(lines) <= rows else [*lines[: rows - 1], f"{lines[rows - 1][: letters - 1]}…"]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Matplotlib's DejaVu Sans, which knows most alphabets; Pillow's own font knows Latin."""
    try:
        from matplotlib import get_data_path

        return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
    except (ImportError, OSError):
        return ImageFont.load_default(size)
