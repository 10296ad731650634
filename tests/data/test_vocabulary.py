"""A vocabulary without unused pieces says the same of texts that it was cut for, and something of all others."""

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer, only_seen
from mmpretrain.data.vocabulary import reduced

TEXTS = ["a smiling cat with heart-eyes", "flag: Côte d’Ivoire", "keycap: 10", "woman’s boot, woman’s hat", "猫"]


@cache
def clip() -> Tokenizer:
    return ClipTokenizer(context_length=40).build([])


@cache
def cut() -> tuple[Tokenizer, list[int]]:
    return only_seen(clip(), TEXTS)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    words = {number: word for word, number in tokenizer._fast.get_vocab().items()}
    return [words[number] for number in ids(tokenizer, text)]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    tokens_BL, mask_BL = tokenizer([text])
    return tokens_BL[0][mask_BL[0]].tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_texts_that_it_was_cut_for_come_out_as_before(text: str):
    small, kept = cut()
    assert pieces(small, text) == pieces(clip(), text)
    assert [kept[number] for number in ids(small, text)] == ids(clip(), text)
    assert small.vocabulary == len(kept) < 1000


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_other_text_falls_into_pieces_that_say_the_same_letters(text: str):
    small, _ = cut()
    assert small.decode(ids(small, text)) == clip().decode(ids(clip(), text))


def test_the_end_token_keeps_the_highest_id_and_padding_the_first():
    small, kept = cut()
    assert small.ends[1] == small.vocabulary - 1
    assert kept[0] == 0


def test_word_pieces_keep_their_characters_and_marks():
    whole = WordPieceTokenizer(context_length=16, vocabulary=200).build(["red square", "redder squares"] * 3)
    small, kept = only_seen(whole, ["red square"])
    assert pieces(small, "red square") == pieces(whole, "red square")
    assert len(kept) < whole.vocabulary
    assert small.mask_id is not None
    assert "[UNK]" not in pieces(small, "squares")


def test_another_kind_of_vocabulary_is_refused_by_name():
    text = json.dumps({"model": {"type": "Unigram", "vocab": []}, "added_tokens": []})
    with pytest.raises(ConfigError, match="Unigram"):
        reduced(text, set())
