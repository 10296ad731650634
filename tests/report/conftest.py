"""A toy run folder as the recipes leave it, with pictures of a few pixels."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpretrain.core.run import Run

HOSTILE = '<script>alert("caption")</script>'


def picture(colour: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (colour % 256, 90, 160)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def figure(value: float, chance: float = 0.05) -> dict[str, Any]:
    return {"value": value, "low": value * 0.9, "high": value * 1.1, "chance": chance, "n": 200}


def sample(number: int, caption: str = "") -> dict[str, str]:
    return {"key": f"k{number}", "caption": caption or f"caption {number}", "image": picture(40 * number)}


def answer(number: int, hit: bool) -> dict[str, Any]:
    return {**sample(number), "score": 0.5 - 0.1 * number, "hit": hit}


def retrieval_result(split: str, step: int, i2t: float, t2i: float) -> dict[str, Any]:
    metrics = {"i2t_R@10": figure(i2t), "t2i_R@10": figure(t2i)}
    metrics |= {"i2t_any_hit@10": figure(i2t * 1.05), "t2i_median_rank": figure(12.0, chance=96.0)}
    return result(split, "retrieval", step, metrics) | {"galleries": {"ada": 200}}


def result(split: str, task: str, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
    facts = {"dataset": "toys", "seed": 0, "config_digest": "c0ffee", "seconds": 1.0}
    return {**facts, "split": split, "task": task, "step": step, "metrics": metrics}


def record(step: int) -> dict[str, Any]:
    objectives = {"contrastive/loss": 4.0 / step, "contrastive/scale": 14.0 + step}
    speed = {"samples_per_s": 410.0, "data_wait": 0.0125, "seconds": 30.0, "skipped": 0}
    return {
        "step": step,
        "samples_seen": step * 8,
        "loss": 4.0 / step,
        "grad_norm": 1.0,
        "rate": 1e-3,
        **objectives,
    } | speed


def query(direction: str, caption: str, hit_at: int | None) -> dict[str, Any]:
    top = [answer(place, hit=place == hit_at) for place in range(5)]
    rank = 41 if hit_at is None else hit_at
    return {"direction": direction, "gallery": "ada", "rank": rank, "query": sample(7, caption), "top": top}


DATA = {
    "name": "toys",
    "title": "Toys and their names",
    "description": f"Drawn for tests. {HOSTILE}",
    "sources": [
        {"name": "ada", "licence": "MIT", "attribution": "Toys by Ada", "url": "https://example.org/ada"},
        {"name": "eve", "licence": "MIT", "attribution": "Toys by Eve", "url": "javascript:alert(1)"},
    ],
    "digest": "d1gest",
    "splits": {
        "train": {"samples": 12345, "shards": 2, "bytes": 7_100_000, "purpose": "To learn from."},
        "unseen": {"samples": 200, "shards": 1, "bytes": 900, "purpose": "An artist never trained on."},
        "val": {"samples": 200, "shards": 1, "bytes": 900, "purpose": "Held-out concepts."},
    },
    "train_split": "train",
    "epochs": 3.2,
    "caption_words": {"1": 5, "3": 9},
    "galleries": {"ada": 9, "eve": 5},
    "labels": {"cubes": 8, "balls": 6},
    "examples": [{**sample(1, HOSTILE), "gallery": "ada"}, {**sample(2), "gallery": "eve"}],
}
ENVIRONMENT = {
    "date": "2025-01-02T03:04:05+00:00",
    "command": "__main__.py pretrain configs/pretrain/toys.yaml",
    "commit": "abcdef0123+",
    "processor": "Abacus 9000 (avx2)",
    "cores": 2,
    "threads": "default",
    "packages": {"torch": "2.10", "deepspeed": None},
}
MODEL = {
    "parameters": {"image": 2_000_000, "text": 500_000},
    "total": 2_500_000,
    "image_name": "tiny",
    "steps": 4,
    "batch": 8,
}
RESULTS = [
    retrieval_result("val", 2, 0.2, 0.2),
    retrieval_result("unseen", 2, 0.1, 0.1),
    retrieval_result("unseen", 4, 0.25, 0.15),
    retrieval_result("val", 4, 0.444, 0.356),
    result("val", "zero_shot", 4, {"acc1": figure(0.62, chance=0.5), "mean_per_class_recall": figure(0.6, chance=0.5)}),
]
QUERIES = [query("i2t", HOSTILE, 0), query("i2t", "a lost one", None), query("t2i", "red cube", 3)]
PREDICTIONS = {
    "retrieval_val": {
        "dataset": "toys",
        "split": "val",
        "step": 4,
        "k": 5,
        "galleries": {"ada": 200},
        "queries": QUERIES,
    },
    "zero_shot_val": {"split": "val", "step": 4, "classes": ["cubes", "balls"], "confusion": [[6, 2], [1, 5]], "n": 14},
}


def lay_out(folder: Path) -> Run:
    """A finished and evaluated run."""
    run = Run(folder)
    run.predictions.mkdir(parents=True)
    run.config.write_text(f"run:\n  folder: runs/toy\n  note: '{HOSTILE}'\n")
    run.environment.write_text(json.dumps(ENVIRONMENT))
    run.complete.write_text("4\n")
    (run.folder / "model.json").write_text(json.dumps(MODEL))
    (run.folder / "data.json").write_text(json.dumps(DATA))
    run.metrics.write_text("".join(json.dumps(record(step)) + "\n" for step in range(1, 5)))
    run.results.write_text("".join(json.dumps(line) + "\n" for line in RESULTS))
    for name, content in PREDICTIONS.items():
        (run.predictions / f"{name}.json").write_text(json.dumps(content))
    return run


@pytest.fixture
def toy_run(tmp_path: Path) -> Run:
    """A run folder that the test may change."""
    return lay_out(tmp_path / "toy_run")


@pytest.fixture(scope="session")
def untouched_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder that many tests read."""
    return lay_out(tmp_path_factory.mktemp("runs") / "toy_run")
