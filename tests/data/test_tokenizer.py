import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer

OURS = ClipTokenizer(context_length=77).build([])
THEIRS = open_clip.SimpleTokenizer()
CORPUS = ["a red square", "a green square", "two blue stripes", "nothing but grey"]


# letters that Unicode added after 14 are none yet to one of the two libraries' tables
characters = st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0xFFFF)


@given(st.text(characters, max_size=60) | st.text("abc '-.,!?0123&;<>|_\u00e9\u0130\u4e2d\U0001f642", max_size=60))
@settings(max_examples=300, deadline=None)
def test_ids_are_those_of_open_clip(text: str):
    tokens_BL, mask_BL = OURS([text])
    expected = THEIRS([text])[0].tolist()
    found = tokens_BL[0].tolist()
    assert found == expected[: len(found)]
    assert not any(expected[len(found) :])
    assert found[int(mask_BL.sum()) - 1] == 49407


def test_long_texts_keep_their_end_token():
    tokens_BL, _ = OURS(["word " * 200])
    assert tokens_BL.shape == (1, 77)
    assert tokens_BL[0, -1] == OURS.vocabulary - 1 == 49407


@pytest.mark.parametrize(
    "variant", [ClipTokenizer(context_length=16), WordPieceTokenizer(context_length=16, vocabulary=100)]
)
class TestEveryTokenizer:
    def test_texts_are_padded_to_the_longest_rounded_up(self, variant):
        tokens_BL, mask_BL = variant.build(CORPUS)(["a red square", "a"])
        assert tokens_BL.shape == mask_BL.shape
        assert tokens_BL.shape[1] % 4 == 0
        assert tokens_BL.shape[1] - mask_BL.sum(dim=1).max() < 4

    def test_the_end_token_has_the_highest_id(self, variant):
        tokenizer = variant.build(CORPUS)
        tokens_BL, mask_BL = tokenizer(CORPUS)
        assert (tokens_BL.argmax(dim=1) == mask_BL.sum(dim=1) - 1).all()

    def test_texts_come_back_from_their_ids(self, variant):
        tokenizer = variant.build(CORPUS)
        tokens_BL, mask_BL = tokenizer(CORPUS)
        assert [tokenizer.decode(row[mask].tolist()) for row, mask in zip(tokens_BL, mask_BL, strict=True)] == CORPUS

    def test_it_is_the_same_after_a_trip_through_json(self, variant):
        tokenizer = variant.build(CORPUS)
        again = Tokenizer.from_json(tokenizer.to_json(), 16)
        assert (again(CORPUS)[0] == tokenizer(CORPUS)[0]).all()

    def test_building_it_twice_gives_the_same(self, variant):
        assert len({variant.build(CORPUS).to_json() for _ in range(3)}) == 1

    def test_an_empty_text_is_its_start_and_end(self, variant):
        _, mask_BL = variant.build(CORPUS)(["", " \n"])
        assert mask_BL.sum(dim=1).tolist() == [2, 2]
