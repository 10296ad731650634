import json
import tracemalloc
import unicodedata

import open_clip
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.trainers import WordPieceTrainer

from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer, _bert_like, clean

OURS = ClipTokenizer(context_length=77).build([])
THEIRS = open_clip.SimpleTokenizer()
CORPUS = ["a red square", "a green square", "two blue stripes", "nothing but grey"]


# letters that Unicode added after 14 are none yet to one of the two libraries' tables
characters = st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0xFFFF)


@given(st.text(characters, max_size=60) | st.text("abc '-.,!?0123&;<>|_\u00e9\u0130\u4e2d\U0001f642", max_size=60))
@settings(max_examples=300, deadline=None)
def test_ids_are_those_of_open_clip(text: str):
    # mended encodings may hold what no table has yet, which one library takes for a letter and the other does not
    assume("Cn" not in map(unicodedata.category, clean(text)))
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


@given(st.lists(st.text(characters, max_size=40), max_size=30), st.integers(100, 400))
@settings(max_examples=60, deadline=None)
def test_a_vocabulary_learned_from_counted_words_is_that_of_the_texts(texts: list[str], size: int):
    cleaned = [clean(text) for text in texts]
    fast = _bert_like({})
    words = [word for text in cleaned for word in split(fast, text)]
    letters = sorted({letter for word in words for letter in word})
    fixed = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    trainer = WordPieceTrainer(vocab_size=size - 1, special_tokens=fixed, show_progress=False)
    fast.train_from_iterator(cleaned, trainer)
    learned = WordPieceTokenizer(vocabulary=size).build(iter(texts))
    ids = json.loads(learned.to_json())["model"]["vocab"]
    assert ids == fast.get_vocab(with_added_tokens=True)


def split(fast: FastTokenizer, text: str) -> list[str]:
    return [word for word, _ in fast.pre_tokenizer.pre_tokenize_str(fast.normalizer.normalize_str(text))]


def test_captions_are_read_once_and_not_kept():
    captions = (f"{CORPUS[number % 4]} {'again and ' * 40}" for number in range(3000))  # 1.2 MB together
    tracemalloc.start()
    try:
        assert WordPieceTokenizer(vocabulary=100).build(captions).vocabulary <= 100
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


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


words_of_letters = st.lists(st.text("abcdef", min_size=1, max_size=7), min_size=1, max_size=12)


@given(words_of_letters, st.integers(4, 20))
@settings(max_examples=100, deadline=None)
def test_word_pieces_are_cut_behind_a_word(words: list[str], length: int):
    tokenizer = WordPieceTokenizer(vocabulary=100, context_length=length).build(["abc def fed cab"])
    whole = Tokenizer.from_json(tokenizer.to_json(), 4096)
    text = " ".join(words)
    ids = tokenizer([text])[0][0].tolist()
    ids = ids[: ids.index(max(ids)) + 1]
    starts = [int(whole([" ".join(words[:count])])[1].sum()) for count in range(1, len(words) + 1)]
    fitting = [size for size in starts if size <= length]
    assert len(ids) == (max(fitting) if fitting else length)
    assert ids[:-1] == whole([text])[0][0].tolist()[: len(ids) - 1]
    assert tokenizer.cut([text, "abc", text]) == 2 * (starts[-1] > length)


def test_texts_that_are_cut_are_counted_under_any_vocabulary():
    assert OURS.cut(["word " * 75, "word " * 76, "a"]) == 1
