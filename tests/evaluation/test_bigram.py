import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.evaluation.bigram import DISCOUNT, Bigram

VOCABULARY = 6
texts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=8), max_size=6)


@given(texts, st.integers(0, VOCABULARY - 1))
def test_the_words_behind_any_word_have_probabilities_that_add_up_to_one(given_texts: list[list[int]], before: int):
    model = Bigram(given_texts, VOCABULARY)
    found = [model.probability(before, word) for word in range(VOCABULARY)]
    assert sum(found) == pytest.approx(1)
    assert min(found) > 0


def test_probabilities_are_those_of_the_formula():
    model = Bigram([[0, 1, 2], [0, 1, 3], [0, 2, 3]], VOCABULARY)
    # behind 0: 1 twice, 2 once; the words counted are 1 1 2 2 3 3
    word = (2 + 1) / (6 + VOCABULARY)
    assert model.probability(0, 1) == pytest.approx((2 - DISCOUNT) / 3 + DISCOUNT * 2 / 3 * word)
    assert model.probability(5, 1) == pytest.approx(word), "a word that nothing was seen behind"
    losses = model.losses([[0, 1, 2]])
    assert losses.tolist() == pytest.approx([-math.log(model.probability(0, 1)), -math.log(model.probability(1, 2))])
