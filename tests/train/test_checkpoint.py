import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.engines.base import OptimizerState, Options
from mmpretrain.engines.single import Single
from mmpretrain.optim.optimizer import Optim
from mmpretrain.train import checkpoint


@pytest.fixture
def engine():
    module = nn.Linear(3, 2)
    options = Options(device=torch.device("cpu"), clip_norm=None, ema=0.9)
    engine = Single(precision="fp32").build(module, Optim().build, options)
    engine.backward(module(torch.ones(1, 3)).sum())
    engine.step()
    return engine


def save(root: Path, engine, step: int) -> Path:
    state = {"position": 10 * step, "config_digest": "digest", "guards": {}}
    texts = {"tokenizer.json": "{}", "config.yaml": "a: 1\n", "data.json": "{}"}
    return checkpoint.write(root, checkpoint.take(engine, step, state, texts))


@pytest.fixture
def root(tmp_path: Path, engine) -> Path:
    for step in (1, 2, 3):
        save(tmp_path, engine, step)
    return tmp_path


def test_a_checkpoint_gives_back_what_was_saved(root: Path, engine):
    found = checkpoint.load(root / "step_00000002")
    assert found.step == 2
    assert all(torch.equal(found.weights[name], value) for name, value in engine.weights().items())
    assert all(torch.equal(found.average[name], value) for name, value in engine.weights(averaged=True).items())
    state = engine.optimizer_state()
    assert found.optimizer_steps == state.steps == {"weight": 1, "bias": 1}
    assert all(torch.equal(found.moments[name], value) for name, value in state.moments.items())


def test_an_engine_takes_up_what_another_one_saved(root: Path, engine):
    found = checkpoint.load(root / "step_00000003")
    fresh = Single(precision="fp32").build(
        nn.Linear(3, 2), Optim().build, Options(device=torch.device("cpu"), clip_norm=None, ema=0.9)
    )
    fresh.load(found.weights, OptimizerState(moments=found.moments, steps=found.optimizer_steps), found.average)
    for one in (engine, fresh):
        one.backward(one.module(torch.full((1, 3), 2.0)).square().sum())
        one.step()
    assert all(torch.equal(fresh.weights()[name], value) for name, value in engine.weights().items())
    assert all(torch.equal(fresh.weights(True)[name], value) for name, value in engine.weights(True).items())


def test_nothing_in_a_checkpoint_is_pickled(root: Path):
    for file in (root / "step_00000001").iterdir():
        assert file.suffix in {".safetensors", ".json", ".yaml"}
        assert not file.read_bytes().startswith((b"\x80", b"PK"))


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json", "tokenizer.json"]
)
def test_a_flipped_bit_anywhere_is_found_and_the_one_before_is_taken(root: Path, name: str):
    file = root / "step_00000003" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    newest, complaints = checkpoint.find_newest(root)
    assert newest == root / "step_00000002"
    assert complaints == [f"{root / 'step_00000003'}: {name} is damaged"]
    with pytest.raises(MmpretrainError, match=f"{name} is damaged"):
        checkpoint.load(root / "step_00000003")


@pytest.mark.parametrize(
    "damage", ["missing file", "missing manifest", "empty manifest", "other format", "empty folder"]
)
def test_a_damaged_folder_is_passed_over(root: Path, damage: str):
    folder = root / "step_00000003"
    if damage == "missing file":
        (folder / "weights.safetensors").unlink()
    elif damage == "missing manifest":
        (folder / "manifest.json").unlink()
    elif damage == "empty manifest":
        (folder / "manifest.json").write_text("")
    elif damage == "other format":
        (folder / "manifest.json").write_text(json.dumps({"format": "future-9", "files": {}}))
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    newest, complaints = checkpoint.find_newest(root)
    assert newest == root / "step_00000002"
    assert len(complaints) == 1


def test_the_file_latest_is_only_a_hint(root: Path):
    for content in ("", "garbage", "step_00000001"):
        (root / "latest").write_text(content)
        assert checkpoint.find_newest(root) == (root / "step_00000003", [])


def test_a_folder_that_was_being_written_is_no_checkpoint(root: Path):
    shutil.copytree(root / "step_00000003", root / "step_00000004.tmp")
    (root / "step_abc").mkdir()
    assert checkpoint.find_newest(root)[0] == root / "step_00000003"


def test_pruning_keeps_the_newest_and_clears_what_killed_saves_left(root: Path):
    (root / "step_00000009.tmp").mkdir()
    checkpoint.prune(root, 2)
    assert [folder.name for folder in sorted(root.glob("step_*"))] == ["step_00000002", "step_00000003"]


def test_a_save_that_fails_leaves_the_last_good_one(root: Path, engine, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmpretrain.train.checkpoint.stream_tensors", full)
    with pytest.raises(OSError, match="No space"):
        save(root, engine, 4)
    assert not list(root.glob("step_00000004*"))
    assert checkpoint.find_newest(root)[0] == root / "step_00000003"


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(root: Path, engine):
    (root / "step_00000003" / "weights.safetensors").write_bytes(b"")
    save(root, engine, 3)
    assert checkpoint.verify(root / "step_00000003") is None


def test_weights_that_do_not_fit_are_named(engine):
    with pytest.raises(
        MmpretrainError, match=r"missing bias; left over bais; other shape weight \(1, 3\) instead of \(2, 3\)"
    ):
        engine.load({"weight": torch.zeros(1, 3), "bais": torch.zeros(2)}, None, {})
