"""Which words may come, by hypothesis: against definitions in plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.heads.generation.base import Limits
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.rules import allow, repeats
from mmpretrain.heads.generation.sample import Sample, draw, keep_top_k, keep_top_p

VOCABULARY, END = 6, 5
NEVER = float("-inf")
texts = st.lists(st.integers(0, 3), max_size=12)
scores = st.lists(st.one_of(st.floats(-20, 0), st.sampled_from([-1.0, -2.0])), min_size=1, max_size=12)


@given(texts, st.integers(0, 5))
def test_a_word_is_a_repeat_if_it_ends_a_row_that_stands_there(text: list[int], size: int) -> None:
    rows = {tuple(text[start : start + size]) for start in range(len(text) - size + 1)}
    expected = [0 < size <= len(text) and (*text[len(text) - size + 1 :], word) in rows for word in range(VOCABULARY)]
    assert repeats(torch.tensor([text], dtype=torch.int64), size, VOCABULARY)[0].tolist() == expected


@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=4), st.integers(0, 4))
def test_rows_do_not_forbid_each_other_anything(rows: list[list[int]], size: int) -> None:
    together = repeats(torch.tensor(rows), size, VOCABULARY)
    alone = [repeats(torch.tensor([row]), size, VOCABULARY)[0] for row in rows]
    assert torch.equal(together, torch.stack(alone))


@given(texts, st.integers(0, 3), st.integers(0, 14))
def test_no_end_before_the_least_length_but_where_nothing_else_is_left(text: list[int], size: int, least: int) -> None:
    scores_1V = torch.full((1, VOCABULARY), -1.0)
    scores_1V[0, 4] = NEVER  # a word that cannot come at all
    limits = Limits(most_tokens=99, least_tokens=least, blocked_ngram=size)
    found = allow(scores_1V, torch.tensor([text], dtype=torch.int64), limits, END)[0]
    others = [word for word in range(4) if found[word] > NEVER]
    assert (found[END] > NEVER) == (len(text) >= least or not others)
    assert found[4] == NEVER


@given(scores, st.integers(0, 13))
def test_top_k_keeps_the_k_highest_and_of_equal_ones_the_first(values: list[float], count: int) -> None:
    kept = keep_top_k(torch.tensor([values], dtype=torch.float64), count)[0]
    order = sorted(range(len(values)), key=lambda word: (-values[word], word))
    expected = set(order[:count] if count else order)
    assert {word for word in range(len(values)) if kept[word] > NEVER} == expected
    assert all(kept[word] == values[word] for word in expected)


@given(scores, st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_set_that_is_probable_enough(values: list[float], share: float) -> None:
    kept = keep_top_p(torch.tensor([values], dtype=torch.float64), share)[0]
    found = {word for word in range(len(values)) if kept[word] > NEVER}
    weights = [math.exp(value) for value in values]
    total = sum(weights)
    mass = sum(weights[word] for word in found) / total
    assert mass >= share - 1e-9
    assert found, "the likeliest word always stays"
    least = min(weights[word] for word in found)
    assert all(weights[word] <= least for word in range(len(values)) if word not in found)
    assert len(found) == 1 or mass - least / total < share + 1e-9, "without its least word it would be too small"


@given(scores, st.floats(0, 1, exclude_max=True))
def test_a_draw_is_where_the_number_falls_among_the_sums(values: list[float], number: float) -> None:
    scores_1V = torch.tensor([[*values, NEVER]], dtype=torch.float64)
    word = int(draw(scores_1V, torch.tensor([number], dtype=torch.float64)))
    weights = [math.exp(value) for value in values]
    assert word < len(values), "what cannot come does not"
    rest, total = (1 - number) * sum(weights), sum(weights[: word + 1])
    assert total - weights[word] - 1e-9 <= rest <= total + 1e-9


def test_words_are_drawn_as_often_as_they_are_probable() -> None:
    probabilities_V = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05], dtype=torch.float64)
    count = 20_000
    scores_RV = probabilities_V.log().expand(count, -1)
    words_R = Sample(seed=4).choose(scores_RV, torch.arange(count), 3)
    shares_V = torch.bincount(words_R, minlength=5) / count
    assert (shares_V - probabilities_V).abs().max() < 0.012, "three standard deviations"
    warm_R = Sample(seed=4, temperature=2.0).choose(scores_RV, torch.arange(count), 3)
    flat_V = probabilities_V.sqrt() / probabilities_V.sqrt().sum()
    assert (torch.bincount(warm_R, minlength=5) / count - flat_V).abs().max() < 0.012


def test_draws_of_neighbours_and_of_places_are_independent() -> None:
    scores_RV = torch.zeros(5000, 4)
    words = [Sample().choose(scores_RV, torch.arange(5000), place) for place in (0, 1)]
    for first, second in ((words[0], words[1]), (words[0][:-1], words[0][1:])):
        assert abs((first == second).double().mean().item() - 0.25) < 0.02


@pytest.mark.parametrize(
    ("kind", "tree", "said"),
    [
        (Sample, {"temperature": 0}, "temperature"),
        (Sample, {"top_p": 0}, "top_p"),
        (Beam, {"width": 0}, "width"),
        (Beam, {"most_tokens": 4, "least_tokens": 4}, "do not fit into most_tokens=4"),
    ],
)
def test_limits_that_leave_nothing_to_write_are_refused(kind: type, tree: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(kind, tree)
