"""When a run saves, what it keeps, and that writing beside training changes nothing."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mmpretrain.core.errors import ConfigError, Interrupted, MmpretrainError
from mmpretrain.core.files import read_json_lines, write_atomic
from mmpretrain.core.stream import stream_tensors
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes import assemble
from mmpretrain.recipes import pretrain as recipe
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.evaluation import Evaluation
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

    def slowly(path: Path, tensors: dict[str, torch.Tensor]) -> str:
        began.append(time.monotonic())
        time.sleep(0.1)  # the next step is taken meanwhile
        return stream_tensors(path, tensors)

    monkeypatch.setattr(checkpoint, "stream_tensors", slowly)
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
    assert chosen_checkpoint(place.folder).name == f"step_{best:08d}"
    (place.checkpoints / f"step_{best:08d}" / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(ConfigError, match=f"step_{best:08d}, the best of its run: weights.safetensors is damaged"):
        chosen_checkpoint(place.folder)


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


def test_what_is_there_once_is_not_written_again_when_only_the_last_evaluation_is_missing(
    toy_config: ConfigWriter,
) -> None:
    train = {"steps": 4, "evaluate_every": 2, "keep_best": "val/t2i_R@5"}
    place = pretrain(toy_config(train=train), [], "auto", QUIET)
    place.complete.unlink()
    place.best.unlink()
    before = {file: file.stat().st_mtime_ns for file in place.checkpoints.rglob("*") if file.is_file()}
    assert pretrain(toy_config(train=train), [], "auto", QUIET).complete.exists()
    assert {file: file.stat().st_mtime_ns for file in place.checkpoints.rglob("*") if file.is_file()} == before
    assert json.loads(place.best.read_text())["step"] == 4


def test_a_signal_during_an_evaluation_finds_its_step_saved_and_takes_no_other(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(train={"steps": 6, "evaluate_every": 2, "log_every": 1})
    evaluate = Evaluation.run

    def signalled(self: Evaluation, engine: Any, step: int, *more: Any, **named: Any) -> list[dict]:
        assert step in steps(self.place.checkpoints)
        os.kill(os.getpid(), signal.SIGUSR1)
        return evaluate(self, engine, step, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Evaluation, "run", signalled)
        with pytest.raises(Interrupted) as stopped:
            pretrain(config, [], "auto", QUIET)
    assert stopped.value.exit_code == 85
    place = pretrain(config, [], "auto", QUIET)
    assert [line["step"] for line in read_json_lines(place.metrics)] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_another_process_trained_meanwhile_is_left_alone(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(train={"steps": 4, "save_every": 2})

    @contextmanager
    def late(file: Path) -> Iterator[None]:
        file.parent.mkdir(parents=True)
        write_atomic(file.with_name("complete"), "4\n")  # the other one has just ended
        yield

    monkeypatch.setattr(recipe, "locked", late)
    with pytest.raises(MmpretrainError, match="another process has trained this run meanwhile; start again"):
        pretrain(config, [], "auto", QUIET)


def test_a_run_that_goes_on_asks_no_space_for_checkpoints_that_it_has(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(assemble, "require_space", lambda folder, size, *more: asked.append(size))
    config = toy_config(train={"steps": 6, "save_every": 2, "keep_last": 2})
    place = pretrain(config, [], "auto", QUIET)
    place.complete.unlink()
    pretrain(config, [], "auto", QUIET)
    assert asked[0] == 3 * asked[1]
