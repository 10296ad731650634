"""A disk that does not take a checkpoint, as the system says it."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.run import list_checkpoints
from mmpretrain.engines.base import OptimizerState
from mmpretrain.train.checkpoint import STATE, Snapshot
from mmpretrain.train.saving import Saver


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 64 kB: a write fails as on a full disk."""
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, held[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, held)


def snapshot(step: int, elements: int) -> Snapshot:
    return Snapshot(
        step=step,
        weights={"weight": torch.ones(elements)},
        average={},
        optimizer=OptimizerState(moments={}, steps={}),
        state={**dict.fromkeys(STATE), "format": "", "step": step},
        texts={"tokenizer.json": "{}", "config.yaml": "", "data.json": "{}"},
    )


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.usefixtures("small_files")
def test_tensors_that_do_not_fit_cost_their_checkpoint_alone(tmp_path: Path, beside: bool) -> None:
    told: list[str] = []
    written: list[int] = []
    saver = Saver(tmp_path, 2, beside, lambda step, said: told.append(said), written.append)
    saver.save(snapshot(1, 10), now=False)
    saver.save(snapshot(2, 100_000), now=False)
    assert saver.has(1)
    assert not saver.has(2)
    (said,) = told
    assert "the checkpoint of step 2 was not written" in said
    assert "the newest is of step 1" in said
    with pytest.raises(MmpretrainError, match="the checkpoint of step 3 was not written"):
        saver.save(snapshot(3, 100_000), now=True)
    saver.save(snapshot(4, 10), now=True)
    assert written == [1, 4]
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step_00000001", "step_00000004"]
