from pathlib import Path

import pytest
import torch
from torch import nn

from mmpretrain.core.run import list_checkpoints
from mmpretrain.engines.base import Options
from mmpretrain.engines.single import Single
from mmpretrain.optim.optimizer import Optim
from mmpretrain.train import checkpoint
from mmpretrain.train.restarts import LIMIT, Restarts

LAST = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Checkpoints of steps 2 and 4."""
    module = nn.Linear(3, 2)
    options = Options(device=torch.device("cpu"), clip_norm=None, ema=None)
    engine = Single(precision="fp32").build(module, Optim().build, options)
    state = {"position": 0, "config_digest": "", "guards": {}}
    for step in (2, 4):
        texts = {"tokenizer.json": "{}", "config.yaml": "", "data.json": "{}"}
        checkpoint.write(tmp_path / "checkpoints", checkpoint.take(engine, step, state, texts))
    return tmp_path / "checkpoints"


def test_starts_that_lead_nowhere_go_back_by_one_checkpoint(root: Path) -> None:
    restarts = Restarts(root.parent / "restarts.json")
    for _ in range(LIMIT):
        assert restarts.choose(root, LAST).folder == root / "step_00000004"
        restarts.begin(4)
    choice = restarts.choose(root, LAST)
    assert choice.folder == root / "step_00000002"
    assert choice.complaints == [f"{root / 'step_00000004'}: 2 starts from it did not come to another checkpoint"]


def test_from_the_last_step_no_checkpoint_can_follow_and_none_is_given_up(root: Path) -> None:
    restarts = Restarts(root.parent / "restarts.json")
    for _ in range(2 * LIMIT):
        restarts.begin(4)
    assert restarts.choose(root, 4).folder == root / "step_00000004"


def test_progress_ends_the_count(root: Path) -> None:
    restarts = Restarts(root.parent / "restarts.json")
    for _ in range(3 * LIMIT):
        restarts.begin(4)
        restarts.progressed()
    assert restarts.choose(root, LAST).folder == root / "step_00000004"
    assert restarts.read()["total"] == 3 * LIMIT - 1


def test_without_an_earlier_checkpoint_the_newest_is_tried_again(root: Path) -> None:
    restarts = Restarts(root.parent / "restarts.json")
    for _ in range(LIMIT):
        restarts.begin(2)
    checkpoint.put_aside(root, 2)
    assert restarts.choose(root, LAST).folder == root / "step_00000002"


def test_a_run_that_goes_back_does_not_meet_what_it_left(root: Path) -> None:
    (moved,) = checkpoint.put_aside(root, 2)
    assert [folder.name for folder in list_checkpoints(root)] == ["step_00000002"]
    assert moved.is_dir()
    checkpoint.prune(root, 2)
    assert not moved.exists()


@pytest.mark.parametrize("content", ["", "{", '{"step": "x"}', "[]"])
def test_a_counter_that_cannot_be_read_counts_from_nothing(root: Path, content: str) -> None:
    file = root.parent / "restarts.json"
    file.write_text(content)
    assert Restarts(file).read() == {"step": -1, "starts": 0, "total": -1}
