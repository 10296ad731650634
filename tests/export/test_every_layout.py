"""Layouts of towers, fusion and decoder: each says the same in ONNX and as a model of Hugging Face."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ConfigWriter
from tests.export.runs import export, train

WORDS = {"kind": "wordpiece", "context_length": 12, "vocabulary": 100}
BERT = {"kind": "bidirectional", "width": 16, "layers": 2, "heads": 2}
VIT = {"layers": 1, "width": 64, "patch_size": 16, "embed_dim": 16}
LAYOUTS: dict[str, dict[str, Any]] = {
    "open_clip's ViT, the mean of a BERT": {
        "towers__image": {"kind": "open_clip", "name": "ViT-B-32", "size": 32, "options": VIT},
        "towers__text": {**BERT, "pool": "mean"},
        "objectives": [{"kind": "sigmoid"}],
    },
    "BLIP's shared weights, pooled pictures": {
        "towers__image": {"kind": "timm", "name": "test_vit", "size": 32},
        "towers__text": BERT,
        "towers__fusion": {"start": "embedding", "shares": "text"},
        "towers__decoder": {"start": "embedding", "shares": "fusion", "own_attention": True},
        "towers__image_queries": 3,
        "objectives": [{"kind": "contrastive"}, {"kind": "matching", "negatives_within": 4}, {"kind": "captioning"}],
    },
    "FLAVA's row of picture and text, rotary": {
        "towers__text__positions": "rotary",
        "towers__decoder": {"start": "embedding", "layers": 2, "image": "joined"},
        "objectives": [{"kind": "captioning"}],
    },
    "torchvision's Swin, gated and rotary text": {
        "towers__image": {"kind": "torchvision", "name": "swin_t", "size": 64},
        "towers__text__mlp": "swiglu",
        "towers__text__positions": "rotary",
        "data__batch": 4,
    },
    "timm's ConvNeXt, norms in front": {
        "towers__image": {"kind": "timm", "name": "test_convnext", "size": 32},
        "towers__text": {**BERT, "norm": "pre"},
    },
}


@pytest.mark.long
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_says_the_same_elsewhere(name: str, toy_config: ConfigWriter, tmp_path: Path) -> None:
    run = train(toy_config, **{"data__tokenizer": WORDS, **LAYOUTS[name]})
    for to, tolerance in (("huggingface", 0), ("onnx", 1e-5)):
        report = json.loads(export(run, "--to", to, "--out", tmp_path / to, "--json"))
        for part in report["parts"]:
            assert part["largest_difference"] <= tolerance * max(1, part["largest_number"]), part
