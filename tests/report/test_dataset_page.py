"""The page of a dataset from plain facts."""

import re
from typing import Any

import pytest

from mmpretrain.report.dataset_page import bin_by_edges, build_page, cut_tail, median, render_dataset
from tests.report.conftest import HOSTILE, sample

FACTS: dict[str, Any] = {
    "name": "toys",
    "pictures": True,
    "title": "Toys and their names",
    "description": HOSTILE,
    "sources": [{"name": "eve", "licence": "MIT", "attribution": HOSTILE, "url": "javascript:alert(1)"}],
    "datasheet": {"motivation": "For play.", "uses": HOSTILE},
    "language_field": None,
    "digests": {"train": "d1gest"},
    "seed": 3,
    "splits": {"train": {"samples": 5_000_000, "shards": 500, "bytes": 7_000_000_000, "purpose": "to learn from"}},
    "samples": 5_000_000,
    "members": {"jpg": {"count": 5_000_000, "bytes": 6_000_000_000}},
    "missing": {"txt": 4},
    "equal_files": {"groups": 10, "surplus": 12},
    "looked_at": 2000,
    "damage": {"damaged_image": 3},
    "copies": {"pixels": 0, "near": 2, "caption": 9},
    "words": {"2": 990, "5": 1000, "900": 7},
    "tokens": {"4": 990, "7": 1000, "1200": 7},
    "cut_captions": 7,
    "languages": {"Latin": 1990, "Han": 7},
    "formats": {"JPEG RGB": 1997},
    "picture_sizes": {"512 x 384": 1000, "64 x 64": 997},
    "short_sides": {"64": 997, "384": 1000},
    "short_side": {"min": 64, "median": 384, "mean": 224, "p99": 384, "max": 384},
    "aspects": [1.0] * 997 + [1.333] * 1000,
    "labels": {},
    "galleries": {},
    "examples": [{**sample(1, HOSTILE), "split": "train"}],
}


@pytest.fixture(scope="module")
def page() -> str:
    return " ".join(render_dataset(FACTS).replace("\N{NO-BREAK SPACE}", " ").split())


def test_it_says_on_how_many_samples_it_rests(page: str):
    assert "of 2,000 samples drawn from all 5,000,000 with seed 3" in page


def test_all_samples_are_called_all():
    assert "All 5,000,000 samples were looked at." in render_dataset({**FACTS, "looked_at": 5_000_000})


def test_it_loads_nothing_and_keeps_captions_text(page: str):
    assert "<script" not in page
    assert "javascript:" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert set(re.findall(r'(?:src|href)="([^"]{5})', page)) <= {
        "data:",
        "#over",
        "#look",
        "#capt",
        "#pict",
        "#qual",
        "#lice",
        "#data",
    }
    assert "Content-Security-Policy" in page


def test_unanswered_questions_are_shown_as_such(page: str):
    assert page.count("not answered") == 5
    assert "For play." in page


def test_damage_copies_and_what_is_missing_have_their_shares():
    found = {
        finding.name: (finding.count, finding.share.replace("\N{NO-BREAK SPACE}", " "))
        for finding in build_page(FACTS).findings
    }
    assert found["Equal files"] == ("12", "0.0 %")
    assert found["Damaged image"] == ("3", "0.1 %")
    assert found["No .txt"] == ("4", "0.0 %")
    assert found["Equal captions"] == ("9", "0.4 %")


def test_one_endless_caption_does_not_flatten_the_chart():
    assert cut_tail(FACTS["words"]) == {"2": 990, "3": 0, "4": 0, "5": 1000, "over 5": 7}


def test_bins_reach_from_the_first_to_the_last_that_hold_anything():
    assert bin_by_edges([3, 12, 30], (10, 20, 30), "{:.0f}", whole=True) == {
        "under 10": 1,
        "10 to 19": 1,
        "20 to 29": 0,
        "30 and more": 1,
    }
    assert bin_by_edges([], (10,), "{}") == {}


def test_the_median_is_one_of_the_lengths():
    assert median({"1": 2, "3": 1, "9": 2}) == 3
