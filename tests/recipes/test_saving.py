"""When a run saves, what it keeps, and that writing beside training changes nothing."""

import json
import re
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import load_pretrain
from mmpretrain.train import checkpoint
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)
EVERY_STEP = {"steps": 6, "log_every": 1, "save_every": 1, "keep_last": 6}


def steps(root: Path) -> list[int]:
    return [checkpoint.step_of(folder) for folder in checkpoint.list_checkpoints(root)]


def test_a_checkpoint_written_beside_training_is_of_the_step_it_was_asked_for(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pretrain(toy_config("first", train=EVERY_STEP, optim__ema=0.9), [], "auto", QUIET)
    began: list[float] = []

    def slowly(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        began.append(time.monotonic())
        time.sleep(0.1)  # the next step is taken meanwhile
        save_tensors(path, tensors)

    monkeypatch.setattr(checkpoint, "save_tensors", slowly)
    beside = pretrain(
        toy_config("beside", train={**EVERY_STEP, "save_beside": True}, optim__ema=0.9), [], "auto", QUIET
    )
    assert began
    assert steps(first.checkpoints) == steps(beside.checkpoints) == [1, 2, 3, 4, 5, 6]
    for one, other in zip(*(checkpoint.list_checkpoints(run.checkpoints) for run in (first, beside)), strict=True):
        for file in ("weights.safetensors", "optimizer.safetensors", "ema.safetensors"):
            mine, theirs = load_tensors(one / file), load_tensors(other / file)
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[name], theirs[name]) for name in mine), f"{one.name}/{file}"


def test_the_best_checkpoint_stays_beside_the_last_ones(toy_config: ConfigWriter) -> None:
    train = {
        "steps": 8,
        "log_every": 1,
        "save_every": 1,
        "evaluate_every": 1,
        "keep_last": 1,
        "keep_best": "val/t2i_R@5",
    }
    place = pretrain(toy_config(train=train), [], "auto", QUIET)
    values = {
        line["step"]: line["metrics"]["t2i_R@5"]["value"]
        for line in read_json_lines(place.results)
        if line["task"] == "retrieval"
    }
    best = min(step for step, value in values.items() if value == max(values.values()))
    assert len(set(values.values())) > 1
    assert json.loads(place.best.read_text()) == {"metric": "val/t2i_R@5", "value": values[best], "step": best}
    assert steps(place.checkpoints) == sorted({best, 8})


def test_a_best_that_no_evaluation_gives_is_refused_with_the_nearest(toy_config: ConfigWriter) -> None:
    train = {"steps": 3, "evaluate_every": 1, "keep_best": "val/t2i_R@6"}
    with pytest.raises(ConfigError, match=r"train\.keep_best: no evaluation gives val/t2i_R@6; did you mean"):
        pretrain(toy_config(train=train), [], "auto", QUIET)


def test_minutes_that_have_passed_ask_for_a_checkpoint(toy_config: ConfigWriter) -> None:
    place = pretrain(toy_config(train={"steps": 3, "save_minutes": 1e-9, "keep_last": 5}), [], "auto", QUIET)
    assert steps(place.checkpoints) == [1, 2, 3]
    place = pretrain(toy_config("slow", train={"steps": 3, "save_minutes": 60.0, "keep_last": 5}), [], "auto", QUIET)
    assert steps(place.checkpoints) == [3]


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"evaluate_every": 1, "keep_best": "t2i_R@5"}, "'t2i_R@5' is not SPLIT/METRIC"),
        (
            {"evaluate_every": 1, "keep_best": "test/t2i_R@5"},
            "no evaluation is of 'test'; those of this",
        ),
        ({"keep_best": "val/t2i_R@5"}, "only the last step would be evaluated; set train.evaluate_every"),
    ],
)
def test_a_best_that_would_never_be_found_is_refused_at_once(toy_config: ConfigWriter, train: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_pretrain(toy_config(train={"steps": 9, **train}))
