"""For the owner of a GPU: what a processor cannot show. Skipped without CUDA."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.engines.single import Single
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.train import checkpoint
from mmpretrain.train.step import train_step
from tests.conftest import ConfigWriter
from tests.engines.engine_trial import ENGINES, STEPS, build_engine, build_module, micro_batches, rows, run
from tests.ranks import launch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

NUMBERS = ("loss", "norm", "contrastive/scale")


@pytest.fixture(autouse=True)
def full_fp32() -> None:
    """TF32 would round products to ten bits."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(scope="module")
def on_processor() -> list[dict[str, Any]]:
    return run(build_engine(ENGINES["single"], build_module()), range(STEPS))


def assert_same_course(found: list[dict[str, Any]], expected: list[dict[str, Any]], rtol: float) -> None:
    for name in NUMBERS:
        assert [record[name] for record in found] == pytest.approx([r[name] for r in expected], rel=rtol), name


def test_a_gpu_takes_the_steps_of_a_processor(on_processor: list[dict[str, Any]]) -> None:
    found = run(build_engine(ENGINES["single"], build_module(), device="cuda"), range(STEPS))
    assert_same_course(found, on_processor, rtol=1e-4)


def test_a_pinned_batch_arrives_whole() -> None:
    batch = rows(range(12)).pin_memory()
    assert batch.images_BCHW.is_pinned()
    arrived = batch.to(torch.device("cuda"))
    torch.cuda.synchronize()
    for name in ("images_BCHW", "tokens_BL", "mask_BL", "positions_B"):
        assert torch.equal(getattr(arrived, name).cpu(), getattr(batch, name))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_fp32(precision: Any, on_processor: list[dict[str, Any]]) -> None:
    engine = build_engine(Single(precision=precision), build_module(), device="cuda")
    found = run(engine, range(STEPS))
    taken = [record for record in found if record["applied"]]
    assert taken, "the scale came down to where gradients are finite"
    assert found[0]["loss"] == pytest.approx(on_processor[0]["loss"], rel=2e-2)


def test_fp16_halves_its_scale_after_an_overflow_and_leaves_the_weights_alone() -> None:
    engine = build_engine(Single(precision="fp16"), build_module(), device="cuda")
    state = replace(engine.optimizer_state(), loss_scale={**engine.optimizer_state().loss_scale, "scale": 2.0**60})
    engine.load(engine.weights(), state, {})
    before = engine.weights()
    result = train_step(engine, micro_batches(0, 1), seed=0)
    assert result.refused is not None
    assert all(torch.equal(engine.weights()[name], value) for name, value in before.items())
    assert engine.optimizer_state().loss_scale["scale"] == 2.0**59


def test_fp16_goes_on_from_a_checkpoint_with_its_scale() -> None:
    first = build_engine(Single(precision="fp16"), build_module(), device="cuda")
    run(first, range(3))
    second = build_engine(Single(precision="fp16"), build_module(seed=1), device="cuda")
    second.load(first.weights(), first.optimizer_state(), {})
    assert second.optimizer_state().loss_scale == first.optimizer_state().loss_scale
    assert_same_course(run(second, range(3, STEPS)), run(first, range(3, STEPS)), rtol=1e-3)


def test_compiled_towers_take_the_same_steps(on_processor: list[dict[str, Any]]) -> None:
    engine = build_engine(Single(precision="fp32", compile=True), build_module(), device="cuda")
    assert_same_course(run(engine, range(STEPS)), on_processor, rtol=1e-3)


def test_a_run_on_a_gpu_is_saved_and_goes_on(toy_config: ConfigWriter) -> None:
    config = toy_config(engine={"kind": "single"}, train={"steps": 6, "log_every": 1, "save_every": 3})
    place = pretrain(config, [], "auto", Console(quiet=True))
    whole = [line["loss"] for line in read_json_lines(place.metrics)]
    place.complete.unlink()
    checkpoint.put_aside(place.checkpoints, 3)
    pretrain(config, [], "auto", Console(quiet=True))
    assert [line["loss"] for line in read_json_lines(place.metrics)] == pytest.approx(whole, rel=1e-2)


@pytest.mark.processes
@pytest.mark.timeout(300)
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_every_engine_over_nccl_takes_the_steps_of_one_process(
    tmp_path: Path, on_processor: list[dict[str, Any]]
) -> None:
    launch(Path(__file__).with_name("gpu_worker.py"), str(tmp_path), timeout=280)
    report = json.loads((tmp_path / "report.json").read_text())
    for kind, records in report.items():
        assert_same_course(records, on_processor, rtol=1e-4), kind
