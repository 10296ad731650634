from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.data.card import Card
from mmpretrain.data.filters.base import Candidate, Pool
from mmpretrain.data.filters.basic import Basic
from mmpretrain.data.filters.chain import KINDS, build_filters
from mmpretrain.data.filters.clip_score import ClipScore, threshold
from mmpretrain.data.filters.text_based import TextBased

TREE = {"title": "x", "splits": {"train": {"shards": ["x.tar"], "samples": 1}}}
CARD = build(
    Card, {**TREE, "classes": ["Food & Drink", "cat"], "descriptions": {"Food & Drink": ["ice cream", "bread"]}}
)
SCORES = np.array([0.1, 0.5, np.nan, 0.3, 0.4], dtype=np.float32)
POOL = Pool(card=CARD, scores=lambda run: SCORES)


def candidate(caption: str = "a photo of a cat", width: int = 300, height: int = 300, number: int = 0) -> Candidate:
    return Candidate(number=number, uid=("a.tar", "k"), caption=caption, width=width, height=height)


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (candidate(), None),
        (candidate("two words"), "few_words"),
        (candidate("a b c"), "few_characters"),
        (candidate(width=199), "small_picture"),
        (candidate(width=200, height=600), None),
        (candidate(width=200, height=601), "narrow_picture"),
    ],
)
def test_basic_draws_datacomps_lines(sample: Candidate, reason: str | None):
    assert Basic().build(POOL)(sample) == reason


@pytest.mark.parametrize(
    ("caption", "kept"),
    [("A CAT!", True), ("cats", False), ("some ice-cream, please", True), ("ice and cream", False), ("food", False)],
)
def test_captions_mention_whole_words_and_phrases_of_the_card(caption: str, kept: bool):
    assert (TextBased().build(POOL)(candidate(caption)) is None) == kept


def test_a_list_of_words_takes_the_place_of_the_card(tmp_path: Path):
    (tmp_path / "words.txt").write_text("Hund\n\nrote Katze\n")
    rule = TextBased(words=str(tmp_path / "words.txt")).build(POOL)
    assert rule(candidate("eine rote Katze")) is None
    assert rule(candidate("a cat")) == "no_known_word"


@pytest.mark.parametrize("words", ["missing.txt", "empty.txt", None])
def test_nothing_to_look_for_is_refused(tmp_path: Path, words: str | None):
    (tmp_path / "empty.txt").write_text("\n")
    path = str(tmp_path / words) if words else None
    with pytest.raises(ConfigError, match=r"text_based\.words"):
        TextBased(words=path).build(Pool(card=build(Card, TREE), scores=lambda run: SCORES))


def test_the_best_share_of_the_pool_is_kept_and_damaged_samples_never():
    rule = ClipScore(run="x", share=0.4).build(POOL)
    assert [rule(candidate(number=number)) for number in range(5)] == [
        "low_score",
        None,
        "low_score",
        "low_score",
        None,
    ]
    fixed = ClipScore(run="x", least=0.3).build(POOL)
    assert [fixed(candidate(number=number)) is None for number in range(5)] == [False, True, False, True, True]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60, unique=True), st.floats(0.01, 1))
def test_a_share_keeps_as_many_as_it_says(scores: list[float], share: float):
    array = np.array(scores, dtype=np.float32)
    assert (array >= np.float32(threshold(array, share))).sum() == round(share * len(scores))


def test_settings_reach_their_rules():
    filters = build_filters(["basic", "clip_score"], ["basic.min_side=3", "clip_score.run=a"])
    assert (filters["basic"].min_side, filters["clip_score"].run) == (3, "a")


@pytest.mark.parametrize(
    ("kinds", "overrides", "words"),
    [
        (["basik"], [], "did you mean 'basic'"),
        (["basic"], ["basic.min_sid=3"], r"basic\.min_sid: unknown key; did you mean 'min_side'"),
        (["basic"], ["clip_score.share=1"], "add --keep clip_score"),
        (["clip_score"], [], r"clip_score\.run: needs a value"),
    ],
)
def test_mistakes_are_named(kinds: list[str], overrides: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        build_filters(kinds, overrides)


def test_every_rule_is_found_by_its_kind():
    assert set(KINDS) == {"basic", "text_based", "clip_score", "list"}
