import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.data.captions import CaptionChoice, CaptionLimits, cut, decode_caption
from mmpretrain.data.faults import BadSample


@given(st.binary(max_size=300))
def test_any_bytes_become_clean_text_or_a_fault(content: bytes):
    try:
        text = decode_caption(content, CaptionLimits(max_bytes=100))
    except BadSample:
        return
    assert text == unicodedata.normalize("NFC", text.strip())
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\v\f\r\x85" for c in text)


@given(st.text(max_size=60), st.integers(0, 80))
def test_a_cut_never_splits_a_character(text: str, length: int):
    content = text.encode(errors="ignore")
    part = cut(content, length)
    assert content.startswith(part)
    assert len(content) - len(part) <= max(0, len(content) - length) + 3
    part.decode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfa cat\r\n", "a cat"),
        (b"a\x00 cat\x07", "a cat"),
        ("e\u0301".encode(), "\u00e9"),
        ("👩\u200d🚀".encode(), "👩\u200d🚀"),
    ],
)
def test_marks_and_controls_go_and_letters_are_composed(content: bytes, expected: str):
    assert decode_caption(content) == expected


def test_another_encoding_counts_only_where_the_config_allows_it():
    with pytest.raises(BadSample, match="byte 0x92 at 2 is not UTF-8"):
        decode_caption(b"it\x92s")
    assert decode_caption(b"it\x92s", CaptionLimits(encoding="cp1252")) == "it’s"
    with pytest.raises(ConfigError, match="Python knows no 'cp12'"):
        build(CaptionLimits, {"encoding": "cp12"})


SEVERAL = {"en": "cat", "de": ["Katze", "Mieze"], "fr": "chat"}


def chosen(choice: CaptionChoice, captions: object = SEVERAL) -> Counter:
    return Counter(choice.choose(captions, "default", 0, position) for position in range(400))


def test_captions_are_drawn_by_position_from_the_languages_asked_for():
    assert set(chosen(CaptionChoice())) == {"default"}
    assert set(chosen(CaptionChoice(languages=["de"]))) == {"Katze"}
    drawn = chosen(CaptionChoice(pick="random", languages=["de", "fr"]))
    assert set(drawn) == {"Katze", "Mieze", "chat"}
    assert min(drawn.values()) > 80
    assert set(chosen(CaptionChoice(pick="random"), ["one", "two"])) == {"one", "two"}
    assert set(chosen(CaptionChoice(pick="random", languages=["xx"]))) == {"default"}


def test_what_is_no_text_is_a_fault():
    with pytest.raises(BadSample, match="captions: texts were expected, found int"):
        CaptionChoice(pick="random").choose([3], "default", 0, 0)
