"""How long collectives and steps take: bounds that hold on any machine."""

from dataclasses import replace

import pytest
import torch
from plan_tasks import CAUSAL, task

from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.planning.gpus import GPUS
from mmpretrain.planning.links import Link, Network, seconds_of, sent
from mmpretrain.planning.plan import machine_of, walk_hollow
from mmpretrain.planning.task import Task
from mmpretrain.planning.timing import Loader, Machine, step_time, tail
from mmpretrain.planning.walk import Walk

FAST = Link(bandwidth=100e9, latency=0.0)
SLOW = Link(bandwidth=10e9, latency=0.0)
FLAT = Network(in_node=FAST, between_nodes=FAST, ranks_in_node=1 << 20)
NODES = Network(in_node=FAST, between_nodes=SLOW, ranks_in_node=8)


@pytest.mark.parametrize("kind", ["allreduce", "allgather", "reduce_scatter"])
@pytest.mark.parametrize("ranks", [1, 2, 8, 100])
def test_a_collective_takes_as_long_as_a_rank_sends(kind: str, ranks: int):
    assert seconds_of(kind, 10**9, ranks, FLAT) == pytest.approx(sent(kind, 10**9, ranks) / 100e9)


def test_a_sum_is_a_scatter_of_sums_and_a_gather():
    parts = seconds_of("reduce_scatter", 10**9, 64, NODES) + seconds_of("allgather", 10**9, 64, NODES)
    assert seconds_of("allreduce", 10**9, 64, NODES) == pytest.approx(parts)


def test_between_nodes_each_rank_sends_the_share_of_its_place():
    """Eight ranks share a node's traffic: 1/8 of the whole each, over the slower link."""
    between = seconds_of("allgather", 8 * 10**9, 16, NODES) - seconds_of("allgather", 8 * 10**9, 8, NODES)
    assert between == pytest.approx(10**9 * 0.5 / 10e9)


def test_latency_grows_with_the_levels_of_a_tree_and_with_the_pieces():
    late = Network(in_node=replace(FAST, latency=1.0), between_nodes=replace(SLOW, latency=10.0), ranks_in_node=8)
    assert seconds_of("allgather", 0, 64, late) == pytest.approx(3 + 30)
    assert seconds_of("allreduce", 0, 64, late, pieces=4) == pytest.approx(4 * 2 * 33)


def test_buckets_that_are_through_before_the_end_cost_nothing_but_the_last():
    ready = [(1.0, 100), (2.0, 100), (3.0, 50)]
    assert tail(ready, 4.0, 100, lambda size: size / 100) == pytest.approx(0.5)
    assert tail(ready, 4.0, 100, lambda size: size / 10) == pytest.approx(1 + 10 + 10 + 5 - 4)
    assert tail(ready[:2], 4.0, 100, lambda size: size / 100) == 0


@pytest.fixture(scope="module")
def asked() -> Task:
    return task([{"kind": "contrastive"}], cut__ranks=16, engine={"kind": "ddp"}, towers__text=CAUSAL)


@pytest.fixture(scope="module")
def walked(asked: Task) -> Walk:
    return walk_hollow(asked, torch.bfloat16)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return machine_of(GPUS["h100"], "bf16", 0.5, 8)


def test_twice_the_efficiency_halves_the_computing(asked: Task, walked: Walk, machine: Machine):
    slow = machine_of(GPUS["h100"], "bf16", 0.25, 8)
    half = step_time(walked, asked.engine, asked.cut, machine).compute
    assert half == pytest.approx(step_time(walked, asked.engine, asked.cut, slow).compute / 2)


def test_a_rank_waits_for_a_slow_loader_and_for_no_fast_one(asked: Task, walked: Walk, machine: Machine):
    free = step_time(walked, asked.engine, asked.cut, machine)

    def total(times: float, beside: bool) -> float:
        loader = Loader(rate=asked.cut.rows / (times * free.total), beside=beside)
        return step_time(walked, asked.engine, asked.cut, machine, loader=loader).total / free.total

    assert total(3, beside=True) == pytest.approx(3)
    assert total(0.3, beside=True) == pytest.approx(1)
    assert total(0.3, beside=False) == pytest.approx(1.3)


def test_gradients_that_are_hidden_cost_no_more_than_those_that_are_not(asked: Task, walked: Walk, machine: Machine):
    hidden, open_ = (
        step_time(walked, Ddp(), asked.cut, replace(machine, overlaps=overlaps)).gradients for overlaps in (True, False)
    )
    assert 0 < hidden <= open_


def test_zero_sums_whole_gradients_and_hands_out_weights(asked: Task, walked: Walk, machine: Machine):
    ddp, zero = (step_time(walked, engine, asked.cut, machine) for engine in (Ddp(), DeepSpeed(stage=2)))
    assert zero.gradients >= ddp.gradients
    assert zero.weights > ddp.weights == 0
    assert zero.update < ddp.update


def test_a_gpu_without_bf16_computes_in_fp32_or_as_it_is_told():
    old, new = GPUS["v100"], GPUS["h100"]
    assert old.product_type("auto") == torch.float32
    assert old.peak(old.product_type("fp16")) > 5 * old.peak(old.product_type("auto"))
    assert new.product_type("auto") == torch.bfloat16


def test_every_gpu_says_where_its_figures_come_from():
    for gpu in GPUS.values():
        assert gpu.source.startswith("https://")
        assert gpu.network
        assert gpu.fp32 <= (gpu.bf16 or gpu.fp32)
        assert gpu.between_nodes <= gpu.in_node < gpu.bandwidth
