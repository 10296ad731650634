"""Which figure `train.keep_best` means."""

from typing import Any

import pytest

from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.best import is_better, value_of


def record(task: str, value: float, **more: str) -> dict[str, Any]:
    metrics = {"acc1": {"value": value}, "loss": {"value": 1 - value}}
    return {"task": task, "dataset": "toys", "split": "val", "metrics": metrics, **more}


COLOUR, SHAPE = (record("classification", value, head=head) for head, value in (("colour", 0.5), ("shape", 0.25)))


@pytest.mark.parametrize("wanted", ["val/acc1", "toys:val/acc1", "val/colour/acc1", "val/classification/acc1"])
def test_a_figure_that_one_evaluation_gives_is_found(wanted: str) -> None:
    assert value_of([COLOUR], wanted) == 0.5


def test_of_two_heads_the_named_one_is_meant() -> None:
    assert value_of([COLOUR, SHAPE], "val/colour/acc1") == 0.5
    assert value_of([COLOUR, SHAPE], "val/shape/acc1") == 0.25
    assert value_of([COLOUR, record("zero_shot", 0.1)], "val/zero_shot/acc1") == 0.1
    with pytest.raises(ConfigError, match="2 evaluations give val/acc1; use val/colour/acc1 or val/shape/acc1"):
        value_of([COLOUR, SHAPE], "val/acc1")


def test_a_figure_that_nobody_gives_is_refused_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="no evaluation gives val/acc2; did you mean 'val/acc1'"):
        value_of([COLOUR], "val/acc2")


def test_less_is_better_of_losses_whatever_head_they_are_of() -> None:
    assert is_better("val/colour/acc1", 0.6, 0.5)
    assert is_better("val/colour/loss", 0.5, 0.6)
    assert not is_better("val/loss", 0.6, 0.5)
