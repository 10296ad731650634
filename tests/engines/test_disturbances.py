"""Evaluation, bad steps and a refused checkpoint leave no trace in the run, under any engine."""

import math
from typing import Any

import pytest
import torch
from conftest import Reference
from engine_trial import DISTRIBUTED, KINDS, SAVED

from mmpretrain.core.weights import load_tensors

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_loss_on_one_rank_makes_all_ranks_skip(kind: str, report: dict[str, Any]) -> None:
    bad = report["disturbed"][kind]["bad"]["loss"]
    assert math.isnan(bad["loss"])
    assert not bad["applied"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_gradient_behind_a_good_loss_on_one_rank_makes_all_ranks_skip(kind: str, report: dict[str, Any]) -> None:
    bad = report["disturbed"][kind]["bad"]["gradient"]
    assert math.isfinite(bad["loss"])
    assert not math.isfinite(bad["norm"])
    assert not bad["applied"]


@pytest.mark.parametrize("kind", [kind for kind in DISTRIBUTED if kind.startswith("zero")])
def test_steps_that_differ_between_parameters_are_refused_where_the_engine_keeps_one(
    kind: str, report: dict[str, Any]
) -> None:
    assert "different numbers of steps (2 to 3)" in report["disturbed"][kind]["refused"]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_moments_and_average_stay_bit_for_bit(kind: str, report: dict[str, Any]) -> None:
    assert report["disturbed"][kind]["changed"] == []
    assert report["disturbed"][kind]["training"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_and_disturbed_run_ends_bit_equal_to_the_quiet_one(
    kind: str, report: dict[str, Any], reference: Reference
) -> None:
    assert report["disturbed"][kind]["records"] == report["interrupted"][kind][SAVED:]
    folder = reference.folder / ("single_micro" if kind == "single" else kind)
    for file in ("weights.safetensors", "average.safetensors"):
        quiet, disturbed = load_tensors(folder / "end" / file), load_tensors(folder / "disturbed_end" / file)
        assert [name for name in quiet if not quiet[name].equal(disturbed[name])] == []


@pytest.mark.parametrize("kind", DISTRIBUTED)
def test_a_split_that_does_not_divide_has_the_features_of_one_process(
    kind: str, report: dict[str, Any], reference: Reference
) -> None:
    expected = torch.load(reference.folder / "single_micro" / "features.pt")
    found = torch.load(reference.folder / kind / "features.pt")
    for here, there in zip(found, expected, strict=True):
        assert here.shape == there.shape == (13, 256)
        assert (here - there).abs().max() <= 1e-6


def test_no_extension_was_compiled(report: dict[str, Any], reference: Reference) -> None:
    built = reference.folder / "built"
    assert not built.exists() or not any(built.iterdir())


@pytest.mark.parametrize("kind", ["ddp", "zero2", "zero3"])
def test_bf16_reaches_the_towers(kind: str, report: dict[str, Any], reference: Reference) -> None:
    (found,), (expected,) = report["bf16"][kind], report["bf16"]["single"]
    assert found["loss"] == pytest.approx(expected["loss"], abs=2e-4)
    assert abs(found["loss"] - reference.full[0]["loss"]) > 1e-3
