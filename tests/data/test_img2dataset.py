"""Shards as img2dataset leaves them are read without a step in between."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.data.dataset import Dataset
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter
from tests.data.img2dataset.make import make

WRITTEN = Path(__file__).parent / "img2dataset"


def with_card(folder: Path, samples: int) -> Path:
    """The card that a person would write."""
    shards = [path.name for path in sorted(folder.glob("*.tar"))]
    card = {"title": "From the web", "image": "jpg", "splits": {"train": {"shards": shards, "samples": samples}}}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card))
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    for path in (*WRITTEN.glob("*.tar"), *WRITTEN.glob("*.json")):
        shutil.copy(path, folder)
    return with_card(folder, 20)


def test_shards_of_img2dataset_are_read_as_they_are(written: Path):
    samples = list(Dataset(str(written), "train").samples())
    successes = sum(json.loads(path.read_text())["successes"] for path in written.glob("*_stats.json"))
    assert len(samples) == successes == 20
    assert len({sample.caption for sample in samples}) == 20
    assert all(sample.caption == sample.facts["caption"] for sample in samples)
    assert all(sample.image.shape[1:] == (sample.facts["height"], sample.facts["width"]) for sample in samples), (
        "the sizes are those that img2dataset noted"
    )


@pytest.mark.parametrize("order", ["exact", "streaming"])
def test_shards_of_img2dataset_train_as_they_are(written: Path, toy_config: ConfigWriter, order: str):
    config = toy_config(
        data__name=str(written),
        data__order=order,
        data__tokenizer={"kind": "clip", "context_length": 16},
        train__steps=2,
        train__log_every=1,
        optim__schedule__warmup=0,
        evaluation=[],
    )
    place = pretrain(config, [], "auto", Console(quiet=True))
    assert [record["step"] for record in read_json_lines(place.metrics)] == [1, 2]


@pytest.mark.peers
@pytest.mark.timeout(900)
def test_img2dataset_itself_writes_what_we_read(tmp_path: Path):
    program = os.environ.get("IMG2DATASET")
    if not program:
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        subprocess.run([tmp_path / "venv/bin/pip", "install", "--quiet", "img2dataset"], check=True)
        program = str(tmp_path / "venv/bin/img2dataset")
    captions = make(program, tmp_path / "made", 60)
    samples = list(Dataset(str(with_card(tmp_path / "made" / "shards", 60)), "train").samples())
    assert sorted(sample.caption for sample in samples) == sorted(captions)
