"""Small runs to plan, of every kind."""

from typing import Any

from mmpretrain.core.settings import build
from mmpretrain.planning.task import Task

VIT: dict[str, Any] = {"kind": "timm", "name": "test_vit", "size": 32}
RESNET: dict[str, Any] = {"kind": "timm", "name": "test_resnet", "size": 32}
CAUSAL: dict[str, Any] = {"kind": "causal", "width": 64, "layers": 2, "heads": 2}
BOTH_WAYS: dict[str, Any] = {"kind": "bidirectional", "width": 64, "layers": 2, "heads": 2}
FOUR: list[dict[str, Any]] = [
    {"kind": "contrastive"},
    {"kind": "matching", "negatives_within": 8},
    {"kind": "image_masked_language"},
    {"kind": "captioning"},
]
"""Every kind of head beside contrast, as ALBEF and CoCa have them."""


def task(objectives: list[dict[str, Any]], **more: Any) -> Task:
    """A task of 16 rows, or as `more` says: values by their path, `__` for a dot."""
    tree: dict[str, Any] = {
        "towers": {"image": VIT, "text": CAUSAL, "embedding": 32, "view_hidden": 32, "view_embedding": 16},
        "objectives": objectives,
        "optim": {},
        "engine": {"kind": "single", "precision": "fp32"},
        "vocabulary": 500,
        "context_length": 16,
        "cut": {"ranks": 1, "micros": 1, "rows": 16, "size": 32, "lengths": [16, 9, 12], "padded": 16},
    }
    for path, value in more.items():
        node = tree
        *parents, last = path.split("__")
        for key in parents:
            node = node[key]
        node[last] = value
    return build(Task, tree)
