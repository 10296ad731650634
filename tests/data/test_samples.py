import io
import json

import numpy as np
import pytest
from PIL import Image

from mmpretrain.core.settings import build
from mmpretrain.data.card import Card
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import decode_image
from mmpretrain.data.samples import Reading, decode
from tests.conftest import toy_picture

CARD = build(
    Card,
    {
        "title": "x",
        "image": "png",
        "text_group": "concept",
        "label": "category",
        "classes": ["a", "b"],
        "gallery": "artist",
        "splits": {"train": {"shards": ["x.tar"], "samples": 1}},
    },
)
FACTS = {"concept": "c", "category": "b", "artist": "ada"}


def members(**changes: bytes) -> dict[str, bytes]:
    found = {
        "png": toy_picture("red", "square", 0),
        "txt": " a caf\u00e9 \n".encode(),
        "json": json.dumps(FACTS).encode(),
    }
    return {**found, **changes}


def test_a_sample_has_picture_caption_groups_class_and_gallery():
    sample = decode(CARD, members(), "key", 7, Reading())
    assert (sample.caption, sample.label, sample.gallery, sample.position) == ("a café", 1, "ada", 7)
    assert sample.image.shape == (3, 16, 16)


def test_equal_pictures_and_equal_meanings_share_their_groups():
    first = decode(CARD, members(), "a", 0, Reading())
    renamed = decode(CARD, members(txt=b"other words"), "b", 1, Reading())
    redrawn = decode(CARD, members(png=toy_picture("blue", "dot", 0)), "c", 2, Reading())
    assert (first.image_group, first.text_group) == (renamed.image_group, renamed.text_group)
    assert first.image_group != redrawn.image_group
    assert first.text_group == redrawn.text_group


@pytest.mark.parametrize(
    "changes",
    [
        {"png": b"no picture"},
        {"png": toy_picture("red", "dot", 0)[:60]},
        {"txt": b"\xff\xfe"},
        {"json": b"{"},
        {"json": b'{"concept": "c", "category": "z", "artist": "x"}'},
        {"json": b"{}"},
    ],
)
def test_a_sample_that_cannot_be_decoded_is_named(changes: dict[str, bytes]):
    with pytest.raises(BadSample):
        decode(CARD, members(**changes), "key", 0, Reading())


def test_a_missing_member_is_named():
    with pytest.raises(BadSample, match=r"missing_member: no \.txt"):
        decode(CARD, {"png": toy_picture("red", "dot", 0), "json": json.dumps(FACTS).encode()}, "key", 0, Reading())


@pytest.mark.parametrize("name", ["BMP", "TIFF", "GIF", "PPM", "ICO"])
def test_other_formats_are_not_even_tried(name: str):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, name)
    with pytest.raises(BadSample, match="unknown_image"):
        decode_image(buffer.getvalue())


def test_a_picture_too_large_is_refused_before_its_pixels_are_read():
    buffer = io.BytesIO()
    Image.new("1", (12000, 12000)).save(buffer, "PNG")
    with pytest.raises(BadSample, match="pixels are more than"):
        decode_image(buffer.getvalue())


def test_transparent_parts_become_white_whatever_colour_hides_there():
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(buffer, "PNG")
    assert (np.asarray(decode_image(buffer.getvalue())) == 255).all()


def card_with(**changes: object) -> Card:
    return build(Card, {"title": "x", "splits": {"train": {"shards": ["x.tar"], "samples": 1}}, **changes})


def test_a_set_may_mix_formats_and_the_first_suffix_that_is_there_counts():
    card = card_with(image=["jpg", "png"])
    assert decode(card, members(), "key", 0, Reading()).image.shape == (3, 16, 16)
    with pytest.raises(BadSample, match=r"missing_member: no \.jpg nor \.png"):
        decode(card, {"txt": b"words"}, "key", 0, Reading())


def test_a_set_of_texts_has_no_pictures_and_equal_texts_are_one_group():
    card = card_with(image=None)
    first, second = (decode(card, {"txt": text}, "key", 0, Reading()) for text in (b"one text", b"another"))
    assert first.image.shape == (3, 0, 0)
    assert first.image_group == first.text_group != second.image_group


def test_one_suffix_is_a_list_of_one():
    assert card_with(image="webp").image == ["webp"]
