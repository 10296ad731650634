"""Makes the golden run of the current checkpoint format: once, when a format is released; it is never made again.

    .venv/bin/python -m tests.train.golden.make

Leaves FORMAT/shapes (a data set of 24 pairs), FORMAT/run (stopped at step 4) and FORMAT/losses.json (of steps 5 to 8).
"""

import json
import os
import shutil
import sys
from pathlib import Path

import yaml
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.train import checkpoint
from tests.conftest import toy_samples, write_card, write_tar

KEPT, STEPS = 4, 8


def make(folder: Path) -> None:
    """The run, in a folder that is not there yet."""
    folder.mkdir()
    os.chdir(folder)  # the run's paths are its own, wherever it was made
    shapes = Path("shapes")
    shapes.mkdir()
    write_tar(shapes / "train-00000.tar", toy_samples(24))
    write_card(shapes, {"train": (["train-00000.tar"], 24)})
    config = {
        "run": {"folder": "run"},
        "data": {
            "name": "./shapes",
            "batch": 12,
            "workers": 0,
            "tokenizer": {"kind": "wordpiece", "context_length": 12, "vocabulary": 100},
        },
        "towers": {
            "image": {
                "kind": "open_clip",
                "name": "ViT-B-32",
                "size": 32,
                "options": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
            },
            "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2, "dropout": 0.1},
            "decoder": {"layers": 1},
            "embedding": 16,
        },
        "objectives": [{"kind": "contrastive"}, {"kind": "captioning", "weight": 0.5}],
        "optim": {"schedule": {"rate": 0.001, "warmup": 2}, "ema": 0.9},
        "engine": {"kind": "single", "precision": "fp32"},
        "train": {"steps": STEPS, "log_every": 1, "save_every": KEPT},
    }
    file = Path("config.yaml")
    file.write_text(yaml.safe_dump(config))
    place = pretrain(file, [], "never", Console())
    losses = [line["loss"] for line in read_json_lines(place.metrics)]
    Path("losses.json").write_text(json.dumps(losses[KEPT:]))
    file.unlink()
    for each in (*place.folder.iterdir(), *shapes.iterdir()):
        if each.name in ("complete", "metrics.jsonl", "results.jsonl", "restarts.json", "logs", "run.lock"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.rmtree(place.checkpoints / f"step_{STEPS:08d}")
    (place.checkpoints / checkpoint.LATEST).write_text(f"step_{KEPT:08d}")


if __name__ == "__main__":
    target = Path(__file__).parent / checkpoint.FORMAT
    if target.exists():
        sys.exit(f"{target} exists: a released format does not change; raise checkpoint.FORMAT for another")
    make(target)
