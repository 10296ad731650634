"""What a step computes: walked through on hollow tensors, and counted by torch on real ones."""

from typing import Any

import pytest
import torch
from plan_tasks import BOTH_WAYS, CAUSAL, RESNET, VIT, task
from torch.utils.flop_counter import FlopCounterMode

from mmpretrain.engines.base import product_type
from mmpretrain.planning.cut import batches_of
from mmpretrain.planning.formulas import MISSING
from mmpretrain.planning.hollow import hollow, pretended_world
from mmpretrain.planning.measure import engine_of
from mmpretrain.planning.task import Task
from mmpretrain.planning.walk import Walk, walk
from mmpretrain.train.step import train_step


def walked(task: Task, kind: torch.dtype = torch.float32, fused: bool = False) -> Walk:
    with hollow(), pretended_world(task.cut.ranks):
        module = task.build()
        return walk(module, batches_of(task.cut, module.needs), kind, fused)


class Untracked:
    """No modules, only the total: torch's tracker of modules cannot stand `autograd.grad` of cached features."""

    parents = ("Global",)

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def counted(task: Task) -> int:
    """By torch, on a real step of the real engine."""
    engine = engine_of(task)
    batches = batches_of(task.cut, engine.module.needs)
    counter = FlopCounterMode(display=False, custom_mapping=MISSING)
    counter.mod_tracker = Untracked()
    with counter:
        train_step(engine, batches, seed=0)
    return int(counter.get_total_flops())


MIX = [
    {"kind": "contrastive", "tile": 8},
    {"kind": "matching", "negatives_within": 8},
    {"kind": "image_masked_language"},
    {"kind": "captioning"},
]
LABELS = {"classes": ["a", "b", "c"], "mask_classes": ["a", "b"]}
MANY = {"objectives": MIX, "towers__text": BOTH_WAYS, "towers__fusion": {}, "towers__decoder": {"start": "embedding"}}
RUNS: dict[str, dict[str, Any]] = {
    "contrastive": {"objectives": [{"kind": "contrastive"}]},
    "rows": {"objectives": [{"kind": "contrastive"}], "cut__rows": 7},
    "sigmoid": {"objectives": [{"kind": "sigmoid"}], "towers__image": RESNET},
    "cached features": {"objectives": [{"kind": "contrastive"}], "cut__micros": 3},
    "group norm": {"objectives": [{"kind": "contrastive"}], "towers__image": {**RESNET, "norm": "group"}},
    "checkpointing": {
        "objectives": [{"kind": "contrastive"}],
        "towers__image": {**VIT, "checkpointing": True},
        "towers__text": {**CAUSAL, "checkpointing": True},
        "cut__micros": 2,
    },
    "frozen": {"objectives": [{"kind": "contrastive"}], "towers__image": {**VIT, "frozen_blocks": "all"}},
    "patch dropout": {"objectives": [{"kind": "contrastive"}], "towers__image": {**VIT, "patch_dropout": 0.5}},
    "many": MANY,
    "many, cached": {**MANY, "cut__micros": 2},
    "texts": {
        "objectives": [{"kind": "masked_language"}, {"kind": "next_sentence", "negatives_within": 8}],
        "towers__image": None,
        "towers__text": {**BOTH_WAYS, "positions": "rotary", "mlp": "swiglu"},
        "cut__size": 0,
        "mask_id": 3,
    },
    "accumulated": {
        "objectives": [{"kind": "causal_language", "words": "seen"}],
        "towers__image": None,
        "cut__size": 0,
        "cut__micros": 3,
        "seen": 300,
    },
    "sources": {
        "objectives": [
            {"kind": "contrastive", "sources": ["pairs"]},
            {"kind": "captioning", "sources": ["pairs"]},
            {"kind": "causal_language", "sources": ["texts"]},
        ],
        "towers__decoder": {},
        "sources": ["pairs", "texts"],
        "cut__shares": [0.75, 0.25],
        "cut__pictured": [True, False],
    },
    "pictures": {"objectives": [{"kind": "views"}, {"kind": "masked_image"}, {"kind": "contrastive"}]},
    "teacher": {"objectives": [{"kind": "distillation", "teacher": "any"}], "cut__teacher_width": 24},
    "heads": {
        "objectives": [
            {"kind": "segmentation", "width": 32},
            {"kind": "classification", "hidden": 32},
            {"kind": "question_answering"},
        ],
        "towers__image": {**RESNET, "size": 64},
        "towers__text": BOTH_WAYS,
        "towers__fusion": {},
        "cut__size": 64,
        "labels": dict.fromkeys(("segmentation", "classification", "question_answering"), LABELS),
    },
    "pixels of a transformer": {
        "objectives": [{"kind": "segmentation", "dice": 1.0}],
        "labels": {"segmentation": LABELS},
        "cut__micros": 2,
    },
    "bf16": {"objectives": [{"kind": "contrastive"}], "engine": {"kind": "single", "precision": "bf16"}},
}


@pytest.mark.parametrize("name", RUNS)
def test_operations_of_a_step_are_those_that_torch_counts_on_real_tensors(name: str):
    found = task(**RUNS[name])
    kind = product_type(found.engine.precision, torch.device("cpu"))
    assert sum(walked(found, kind).flops.values()) == pytest.approx(counted(found), rel=0.01)


def test_operations_of_heads_stand_under_their_names():
    """A linear layer of 64 x 3 takes a product forward and two backward; a decoder's convolutions take more."""
    flops = walked(task(**RUNS["heads"])).flops
    width = task(**RUNS["heads"]).build().model.image.width
    assert flops["classification"] == 3 * 2 * 16 * (width * 32 + 32 * 3)
    assert flops["question_answering"] == 3 * 2 * 16 * 64 * 3
    assert flops["segmentation"] > 100 * flops["classification"]


def test_blocks_that_are_computed_again_take_the_kernel_of_their_first_pass():
    plain = {"objectives": [{"kind": "contrastive"}], "towers__text": {**CAUSAL, "layers": 1}}
    thrifty = {**plain, "towers__text": {**CAUSAL, "layers": 1, "checkpointing": True}}
    once, again = (walked(task(**run), torch.bfloat16, fused=True) for run in (plain, thrifty))
    assert once.flops["text"] < again.flops["text"] < 1.4 * once.flops["text"]
    assert once.flops["image"] == again.flops["image"]


def test_the_image_tower_of_vit_b_16_takes_what_its_architecture_says():
    """A transformer's products, counted by hand: 12 D^2 weights a block and token, two products over all pairs."""
    found = task(
        [{"kind": "contrastive"}],
        towers__image={"kind": "timm", "name": "vit_base_patch16_224", "size": 224},
        cut__size=224,
        cut__rows=2,
    )
    width, depth, patches = 768, 12, 196
    tokens = patches + 1
    forward = depth * (2 * 12 * width**2 * tokens + 2 * 2 * tokens**2 * width) + 2 * patches * width * 3 * 16**2
    assert forward == pytest.approx(2 * 17.58e9, rel=0.01), "the figure that timm gives, in multiply-adds"
    # backward takes each product twice, but for the gradient of the pixels, and attention's kernel computes one again
    backward = 2 * forward - 2 * patches * width * 3 * 16**2 + depth * 2 * tokens**2 * width
    assert walked(found).flops["image"] / 2 == pytest.approx(forward + backward, rel=0.01)


def test_nothing_of_a_large_model_is_allocated():
    found = task(
        [{"kind": "contrastive"}],
        towers__image={"kind": "timm", "name": "vit_giant_patch14_clip_224", "size": 224},
        cut__size=224,
    )
    with hollow():
        model = found.build()
        size = sum(parameter.nbytes for parameter in model.parameters())
        assert size > 4e9
        assert isinstance(next(model.parameters()), torch.Tensor)
