"""One run and its ONNX export for all tests that only read them."""

from pathlib import Path

import pytest
import yaml

from mmpretrain.recipes.export import export
from mmpretrain.recipes.opened import Opened, open_best
from mmpretrain.recipes.pretrain import pretrain
from tests.compression.runs import QUIET


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """A run of 40 steps with CLIP's vocabulary, which finds some of what it is asked."""
    home = tmp_path_factory.mktemp("compression")
    tree = {
        "run": {"folder": str(home / "run")},
        "data": {
            "name": str(shapes),
            "batch": 12,
            "workers": 0,
            "tokenizer": {"kind": "clip", "context_length": 12},
            "augmentation": {"crop": [0.6, 1.0], "jitter": 0.2},
        },
        "towers": {
            "image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen"},
            "text": {"kind": "causal", "width": 16, "layers": 2, "heads": 4},
            "embedding": 16,
        },
        "objectives": [{"kind": "contrastive"}],
        "optim": {"schedule": {"rate": 0.01, "warmup": 2}},
        "engine": {"kind": "single", "precision": "fp32"},
        "train": {"steps": 20},
        "evaluation": [{"kind": "zero_shot", "split": "val"}],
    }
    (home / "run.yaml").write_text(yaml.safe_dump(tree))
    return pretrain(home / "run.yaml", [], "never", QUIET).folder


@pytest.fixture(scope="session")
def exported(run: Path) -> Path:
    """Its ONNX export."""
    folder = run.with_name("onnx")
    export(run, "onnx", folder, "", None, "", QUIET)
    return folder


@pytest.fixture
def opened(run: Path) -> Opened:
    """The run, opened anew for each test."""
    return open_best(run)
