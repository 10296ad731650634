import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.data.dataset import open_splits
from mmpretrain.data.statistics import draw, draw_samples, percentiles, script


@given(st.integers(0, 10**7), st.integers(1, 300), st.integers(0, 5))
def test_drawn_places_are_different_in_order_and_as_many_as_asked_for(length: int, count: int, seed: int):
    places = draw(length, count, seed).tolist()
    assert len(places) == min(length, count)
    assert places == sorted(set(places))
    assert all(0 <= place < length for place in places)


def test_another_seed_draws_others_and_the_same_one_the_same():
    assert draw(10**6, 50, 0).tolist() == draw(10**6, 50, 0).tolist() != draw(10**6, 50, 1).tolist()


def test_every_split_and_shard_is_drawn_from(shapes):
    work = draw_samples(open_splits(str(shapes)), 40, 0)
    assert {part.split for part in work} == {"train", "val"}
    assert sum(len(part.rows) for part in work) == 40
    assert all(max(part.rows) < len(part.shard) for part in work)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a red fox, 2 €", "Latin"),
        ("рыжая лиса", "Cyrillic"),
        ("赤いキツネ", "Kana"),
        ("红狐狸", "Han"),
        ("여우", "Hangul"),
        ("ثعلب", "Arabic"),
        ("1234 !", "no letters"),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, kind: str):
    assert script(text) == kind


def test_percentiles_of_nothing_are_none():
    assert percentiles([]) == {}
    assert percentiles([1, 2, 3])["median"] == 2
