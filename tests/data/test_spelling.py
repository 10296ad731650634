"""What a model writes in words and signs, spelled as its captions were."""

import pytest

from mmpretrain.data.spelling import spelled
from mmpretrain.data.tokenizer import ClipTokenizer, WordPieceTokenizer

SPELLED = [
    "rolled-up newspaper",
    "eight o'clock",
    "woman's hat",
    "white medium-small square",
    "flag: northern mariana islands",
    "left-facing fist, medium-light skin tone",
    "it's a man who can't swim!",
    "a cat (black) on a mat.",
    "two dogs; one sleeps",
    "plain words",
    "",
]


@pytest.mark.parametrize("text", SPELLED)
def test_what_a_vocabulary_takes_apart_is_put_together(text: str) -> None:
    for settings in (ClipTokenizer(context_length=32), WordPieceTokenizer(context_length=32, vocabulary=500)):
        tokenizer = settings.build(SPELLED)
        tokens_1L, mask_1L = tokenizer([text])
        assert spelled(tokenizer.decode(tokens_1L[0][mask_1L[0]].tolist())) == text


def test_quotation_marks_and_signs_that_stand_alone_stay_apart() -> None:
    for text in ("a sign that says ' stop ' here", "one - ", "- two", "3 : 4", "a . b"):
        assert spelled(text).replace(" ", "") == text.replace(" ", "")
    assert spelled("a sign that says ' stop ' here") == "a sign that says ' stop ' here"


@pytest.mark.parametrize("text", SPELLED)
def test_a_text_that_is_spelled_stays_as_it_is(text: str) -> None:
    assert spelled(text) == text
