"""The most memory of a rank, predicted without a tensor and measured as the resident size of fresh processes."""

from typing import Any

import pytest
import torch
from plan_tasks import BOTH_WAYS, CAUSAL, FOUR, task

from mmpretrain.engines.base import product_type
from mmpretrain.planning.memory import account_of, fullest
from mmpretrain.planning.plan import walk_hollow
from mmpretrain.planning.resident import measure_resident
from mmpretrain.planning.task import Task

VIT: dict[str, Any] = {"kind": "timm", "name": "vit_tiny_patch16_224", "size": 96}
RESNET: dict[str, Any] = {"kind": "timm", "name": "resnet18", "size": 96}
WIDE: dict[str, Any] = {"width": 512, "layers": 4, "heads": 8}
CONTRASTIVE: dict[str, Any] = {
    "objectives": [{"kind": "contrastive"}],
    "towers__image": VIT,
    "towers__text": {**CAUSAL, **WIDE},
    "vocabulary": 8000,
    "context_length": 32,
    "cut__rows": 16,
    "cut__size": 96,
    "cut__lengths": [32, 20, 25],
    "cut__padded": 32,
}
MANY = {
    **CONTRASTIVE,
    "objectives": FOUR,
    "towers__image": {**VIT, "checkpointing": True},
    "towers__text": {**BOTH_WAYS, **WIDE, "checkpointing": True},
    "towers__fusion": {"layers": 1},
    "towers__decoder": {"start": "embedding", "layers": 1},
}
FROZEN = {**CONTRASTIVE, "towers__image": {**VIT, "frozen_blocks": "all"}}
TWO = {"cut__ranks": 2, "cut__rows": 8}
TWICE = {"cut__micros": 2}
AVERAGE = {"optim": {"ema": 0.9}}


def engine(kind: str, **more: Any) -> dict[str, Any]:
    return {"engine": {"kind": kind, "precision": "fp32", **more}}


def zero(stage: int, **more: Any) -> dict[str, Any]:
    """Buckets as small against these models as the default is against large ones."""
    return engine("deepspeed", stage=stage, bucket_elements=2_000_000, **more)


RUNS: dict[str, dict[str, Any]] = {
    "single": CONTRASTIVE,
    "single, cached, average": {**CONTRASTIVE, "towers__image": RESNET, **TWICE, **AVERAGE},
    "single, many, checkpointing, bf16": {**MANY, **engine("single", precision="bf16")},
    "ddp, accumulated": {
        **CONTRASTIVE,
        "objectives": [{"kind": "captioning"}],
        "towers__decoder": {},
        **engine("ddp"),
        **TWO,
        **TWICE,
    },
    "ddp, cached, average": {**CONTRASTIVE, **engine("ddp"), **TWO, **TWICE, **AVERAGE},
    "zero 1, average": {**CONTRASTIVE, **zero(1), **TWO, **AVERAGE},
    "zero 2, cached": {**CONTRASTIVE, "objectives": [{"kind": "sigmoid"}], **zero(2), **TWO, **TWICE},
    "zero 3": {**CONTRASTIVE, **zero(3, persistence_threshold=1000), **TWO},
    "zero 3, cached, frozen": {**FROZEN, **zero(3, persistence_threshold=1000), **TWO, **TWICE},
}


def predicted(asked: Task) -> int:
    walked = walk_hollow(asked, product_type(asked.engine.precision, torch.device("cpu")), fused=False)
    return sum(fullest(walked, account_of(asked.engine, walked, bool(asked.optim.ema), asked.cut.ranks)).values())


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", RUNS)
def test_a_fresh_process_grows_by_the_memory_that_is_predicted(name: str):
    asked = task(**RUNS[name])
    assert predicted(asked) == pytest.approx(measure_resident(asked, asked.cut.ranks), rel=0.10)
