"""Runs of every format that was released go on."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.train import checkpoint

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "run").is_dir())


def test_the_format_that_is_written_has_its_golden_run() -> None:
    assert checkpoint.FORMAT in FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_that_was_begun_then_goes_on_with_the_losses_it_would_have_had(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GOLDEN / name, tmp_path / name)
    monkeypatch.chdir(tmp_path / name)
    place = pretrain(Path("run/config.yaml"), [], "auto", Console(quiet=True))
    expected = json.loads(Path("losses.json").read_text())
    # other versions and other processors round otherwise
    assert [line["loss"] for line in read_json_lines(place.metrics)] == pytest.approx(expected, rel=1e-3)
    assert not list(place.checkpoints.glob("*.aside"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_checkpoint_of_then_still_verifies(name: str) -> None:
    newest, complaints = checkpoint.find_newest(GOLDEN / name / "run" / "checkpoints")
    assert newest is not None
    assert not complaints
    assert checkpoint.load(newest).step == 4
