"""The most tensors of a rank at a time, and what it sends: predicted without a tensor, and measured in the engines."""

from typing import Any

import pytest
import torch
from plan_tasks import BOTH_WAYS, CAUSAL, FOUR, RESNET, VIT, task
from torch.profiler import ProfilerActivity, profile

from mmpretrain.engines.base import product_type
from mmpretrain.planning.cut import batches_of
from mmpretrain.planning.holdings import Peak
from mmpretrain.planning.links import sent
from mmpretrain.planning.measure import STEPS, Measured, engine_of, look, measure
from mmpretrain.planning.memory import account_of, fullest
from mmpretrain.planning.plan import walk_hollow
from mmpretrain.planning.task import Task
from mmpretrain.planning.traffic import traffic_of
from mmpretrain.planning.walk import Walk
from mmpretrain.train.step import train_step

CONTRASTIVE = {"objectives": [{"kind": "contrastive"}]}
WIDE = {"towers__text": {**CAUSAL, "width": 128}}
MANY = {
    "objectives": FOUR,
    "towers__image": {**VIT, "checkpointing": True},
    "towers__text": {**BOTH_WAYS, "checkpointing": True},
    "towers__fusion": {"layers": 1},
    "towers__decoder": {"start": "embedding", "layers": 1},
}


def zero(stage: int, **more: Any) -> dict[str, Any]:
    """Buckets and limits as small against these models as the defaults are against large ones."""
    return {"kind": "deepspeed", "stage": stage, "precision": "fp32", "bucket_elements": 50_000, **more}


DDP = {"kind": "ddp", "precision": "fp32"}
ONE_RANK: dict[str, dict[str, Any]] = {
    "single": {**CONTRASTIVE, "cut__rows": 32},
    "single, cached, average": {**CONTRASTIVE, "towers__image": RESNET, "cut__micros": 3, "optim": {"ema": 0.9}},
    "single, many, checkpointing, bf16": {**MANY, "engine": {"kind": "single", "precision": "bf16"}},
}
TWO_RANKS: dict[str, dict[str, Any]] = {
    "ddp, accumulated": {
        "objectives": [{"kind": "captioning"}],
        "towers__decoder": {},
        "engine": DDP,
        "cut__micros": 2,
    },
    "ddp, cached, average": {**CONTRASTIVE, **WIDE, "engine": DDP, "cut__micros": 2, "optim": {"ema": 0.9}},
    "zero 1": {**CONTRASTIVE, **WIDE, "engine": zero(1), "optim": {"ema": 0.9}},
    "zero 2, cached": {"objectives": [{"kind": "sigmoid"}], **WIDE, "engine": zero(2), "cut__micros": 2},
    "zero 3": {**CONTRASTIVE, **WIDE, "engine": zero(3, persistence_threshold=1000)},
    "zero 3, cached, frozen": {
        **CONTRASTIVE,
        **WIDE,
        "towers__image": {**VIT, "frozen_blocks": "all"},
        "engine": zero(3, persistence_threshold=1000),
        "cut__micros": 2,
    },
}


def one_rank(name: str) -> Task:
    return task(**ONE_RANK[name])


def two_ranks(name: str) -> Task:
    return task(**{**TWO_RANKS[name], "cut__ranks": 2})


def walked(task: Task) -> Walk:
    return walk_hollow(task, product_type(task.engine.precision, torch.device("cpu")), fused=False)


def predicted(task: Task) -> dict[str, int]:
    found = walked(task)
    return fullest(found, account_of(task.engine, found, bool(task.optim.ema), task.cut.ranks))


@pytest.fixture(scope="session")
def measured() -> dict[str, Measured]:
    """Every engine on two ranks, in one launch."""
    return dict(zip(TWO_RANKS, measure([two_ranks(name) for name in TWO_RANKS], ranks=2), strict=True))


@pytest.mark.parametrize("name", ONE_RANK)
def test_a_process_takes_the_memory_that_is_predicted(name: str):
    assert sum(predicted(one_rank(name)).values()) == pytest.approx(look(one_rank(name), steps=0).peak, rel=0.02)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", TWO_RANKS)
def test_a_rank_of_every_engine_takes_the_memory_that_is_predicted(name: str, measured: dict[str, Measured]):
    assert sum(predicted(two_ranks(name)).values()) == pytest.approx(measured[name].peak, rel=0.10)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", TWO_RANKS)
def test_a_rank_of_every_engine_sends_what_is_predicted(name: str, measured: dict[str, Measured]):
    asked = two_ranks(name)
    found = walked(asked)
    wire = [*traffic_of(asked.engine, found, asked.cut.micros, asked.cut.ranks), *found.exchanges]
    expected = sum(sent(each.kind, each.bytes, 2) for each in wire)
    assert expected == pytest.approx(sum(sent(kind, size, 2) for kind, size in measured[name].exchanges), rel=0.05)


@pytest.mark.parametrize("name", ["single", "single, cached, average"])
def test_the_measure_counts_what_torch_s_own_allocator_counts(name: str):
    """Where the profiler sees every allocation: on one rank, whose tensors no other thread lets go of."""
    asked = one_rank(name)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen, Peak() as peak:
        engine = engine_of(asked)
        batches = batches_of(asked.cut, engine.module.needs)
        for _ in range(STEPS):
            train_step(engine, batches, seed=0)
    assert peak.bytes == pytest.approx(most_live(seen), rel=0.01)


def most_live(seen: profile) -> int:
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


def test_what_is_divided_shrinks_with_the_ranks_and_what_is_not_stays():
    asked = task(**{**CONTRASTIVE, **WIDE, "engine": zero(2), "cut__ranks": 64})
    found = walked(asked)
    few, many = (fullest(found, account_of(asked.engine, found, False, ranks)) for ranks in (2, 64))
    assert many["optimizer"] < few["optimizer"] / 30
    assert many["weights"] == pytest.approx(few["weights"], rel=0.01)
    assert many["activations"] == few["activations"]


def test_parts_add_up_to_the_fullest_moment_and_the_pair_loss_is_one_of_them():
    asked = task(**{**CONTRASTIVE, "engine": DDP, "cut__ranks": 512})
    found = walked(asked)
    parts = fullest(found, account_of(asked.engine, found, False, 512))
    assert parts["objectives"] > 4 * 16 * 512 * 32, "the texts of all ranks, in fp32"
    most = max(sum(span.most.values()) for span in found.spans)
    weights = 4 * sum(weight.numel for weight in found.weights)
    assert sum(parts.values()) == pytest.approx(most + 4 * weights + found.batch_bytes, rel=0.01)
