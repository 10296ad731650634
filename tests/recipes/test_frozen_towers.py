"""Frozen towers that look at each sample once (`towers.cache`): what is kept is what they would say."""

import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)


@pytest.fixture
def origin(toy_config: ConfigWriter) -> Run:
    """A pretrained run of seconds."""
    return pretrain(toy_config("origin", evaluation=[]), [], "auto", QUIET)


def test_a_run_that_resumes_finds_what_its_towers_said(origin: Run, toy_config: ConfigWriter, tmp_path: Path):
    probe = {
        "init": str(origin.folder),
        "objectives": [{"kind": "classification"}],
        "adaptation": {"kind": "probe"},
        "towers__cache": str(tmp_path / "cache"),
        "train__save_every": 3,
        "evaluation": [],
    }
    config = toy_config("probe", **probe)
    run = pretrain(config, [], "auto", QUIET)
    last, kept = run.checkpoints / "step_00000006", sorted((tmp_path / "cache").iterdir())
    whole = load_tensors(last / "weights.safetensors")
    shutil.rmtree(last)
    run.complete.unlink()
    pretrain(config, [], "auto", QUIET)
    again = load_tensors(last / "weights.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert sorted((tmp_path / "cache").iterdir()) == kept, "nothing was computed again"
    assert len(kept) == 1
