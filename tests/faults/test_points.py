"""No place for a fault without a trial that comes to it."""

import re
from pathlib import Path
from typing import get_args

import pytest

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.fault_points import Action, Point, parse

TRIALS = "".join(
    path.read_text() for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.name != "test_points.py"
)


@pytest.mark.parametrize("point", get_args(Point))
def test_every_place_has_a_trial(point: str) -> None:
    assert re.search(rf"[\"']{re.escape(point)}[\"'=]", TRIALS)


@pytest.mark.parametrize("action", get_args(Action))
def test_every_action_has_a_trial(action: str) -> None:
    assert re.search(rf"={action}@|[\"']{action}[\"']", TRIALS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("save.rename", "is not POINT=ACTION"),
        ("save.renam=kill", "no point; did you mean 'save.rename'"),
        ("step=killed", "no action; did you mean 'kill'"),
    ],
)
def test_a_fault_that_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse(text)


def test_a_fault_names_place_action_count_and_rank() -> None:
    assert parse("save.rename=kill@2#0,data=nan") == {"save.rename": ("kill", 2, 0), "data": ("nan", 1, None)}
