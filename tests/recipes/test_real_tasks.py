"""The configs of papers' fine-tuning runs: nobody ran them here, but each takes its steps on ten samples."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.recipes.settings import find_config, load_pretrain
from tests.conftest import toy_samples, write_card, write_tar

TASKS = ["coco_captions", "coco_retrieval", "flickr30k_retrieval", "vqav2", "imagenet", "imagenet_zero_shot"]
SAMPLES = 10


@pytest.fixture
def data_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures with captions, classes, and answers of several, under each name that the configs have."""
    monkeypatch.chdir(tmp_path)
    for name in {load_pretrain(find_config("finetune", Path(task))).data.name for task in TASKS}:
        folder = tmp_path / "data_shards" / str(name)
        folder.mkdir(parents=True)
        for split in ("train", "val"):
            samples = toy_samples(SAMPLES, split)
            for sample in samples:
                facts = json.loads(sample["json"])
                sample["json"] = json.dumps({**facts, "answers": [facts["category"]] * 10}).encode()
            write_tar(folder / f"{split}-00000.tar", samples)
        answers = {"answers": "answers"} if name == "vqav2" else {}
        write_card(folder, {split: ([f"{split}-00000.tar"], SAMPLES) for split in ("train", "val")}, **answers)
    return tmp_path


def smaller(name: str) -> list[str]:
    """What ten samples and one process ask for."""
    objectives = load_pretrain(find_config("finetune", Path(name))).objectives
    within = [
        f"objectives.{place}.negatives_within=2" for place, each in enumerate(objectives) if each.kind == "matching"
    ]
    # zero-shot begins from a run, which nobody has trained here
    start = ["objectives.0.start=random"] if name == "imagenet_zero_shot" else []
    return ["data.batch=2", "data.workers=0", "engine.precision=fp32", *within, *start]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TASKS)
def test_a_real_task_passes_a_dry_run_on_ten_samples(name: str, data_shards: Path):
    found = CliRunner().invoke(cli, ["finetune", name, "--dry-run", *smaller(name)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert "nothing was written" in found.output
    assert not (data_shards / "runs").exists()


@pytest.mark.parametrize("name", TASKS)
def test_its_header_says_that_nobody_ran_it_and_how_to_evaluate_it(name: str):
    header = find_config("finetune", Path(name)).read_text().partition("\nrun:")[0]
    assert "Not run here" in header
    assert f"mmpretrain finetune {name} init=runs/" in header
    assert "mmpretrain evaluate runs/" in header
