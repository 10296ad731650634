"""Many small pictures with a few words below each, or texts alone, as one picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

LARGEST_TILE = 160
"""Pixels that a picture may take on the sheet; larger ones are scaled down."""
SMALLEST_TILE = 96
"""Smaller ones are enlarged by whole factors, so that single pixels stay visible."""
TEXT_TILE = 260
"""Width of a text without picture."""
TEXT_ROWS, ALONE_ROWS = 4, 12
"""Lines of text below a picture, and of a text without one."""
MARGIN = 10
FONT_SIZE = 11
INK, MUTED, PAGE, EDGE = "#1c2430", "#5b6675", "#f6f7f9", "#c5ccd4"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of the sheet."""

    image: Image.Image | None
    """None: a text alone."""
    title: str
    """One line; the others may take several."""
    lines: Sequence[str]


def draw_sheet(heading: str, tiles: Sequence[Tile], columns: int) -> Image.Image:
    """The tiles in rows below a heading; lines that do not fit end in an ellipsis."""
    font = _font(FONT_SIZE)
    images = [scaled(tile.image) if tile.image else None for tile in tiles]
    pictures = [image for image in images if image]
    tall = max((SMALLEST_TILE, *(max(image.size) for image in pictures))) if pictures else 0
    side, text_rows = tall or TEXT_TILE, TEXT_ROWS if tall else ALONE_ROWS
    width, step = side + MARGIN, round(FONT_SIZE * 1.35)
    height = tall + (text_rows + 1) * step + MARGIN
    rows = -(-len(tiles) // columns)
    top = 3 * step
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + top + MARGIN), PAGE)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), heading, INK, _font(FONT_SIZE + 3))
    letters = max(8, int(side / (0.56 * FONT_SIZE)))
    for place, (tile, image) in enumerate(zip(tiles, images, strict=True)):
        left, upper = MARGIN + place % columns * width, top + place // columns * height
        if image:
            sheet.paste(image, (left, upper))
            draw.rectangle((left - 1, upper - 1, left + image.width, upper + image.height), outline=EDGE)
        below = upper + tall + 4
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
