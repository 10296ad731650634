import numpy as np
from PIL import Image

from mmpretrain.report.contact_sheet import LARGEST_TILE, SMALLEST_TILE, Tile, draw_sheet, scaled, wrapped


def test_small_pictures_keep_their_pixels_and_large_ones_shrink():
    small = scaled(Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)))
    assert small.size == (SMALLEST_TILE, SMALLEST_TILE)
    assert small.getpixel((0, 0)) == small.getpixel((5, 5)) == (0, 1, 2)
    assert scaled(Image.new("RGB", (640, 320))).size == (LARGEST_TILE, LARGEST_TILE // 2)


def test_every_tile_has_its_place():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    tiles = [Tile(image=Image.new("RGB", (32, 32), colour), title="1", lines=["ключ", "词"]) for colour in colours]
    sheet = np.asarray(draw_sheet("three", tiles, columns=2))
    assert all((sheet == colour).all(axis=2).sum() == 96 * 96 for colour in colours)


def test_long_texts_end_in_an_ellipsis():
    assert wrapped(["one two three", "four"], 7, 3) == ["one two", "three", "four"]
    assert wrapped(["one two three four"], 7, 2) == ["one two", "three…"]
