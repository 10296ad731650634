"""Every engine follows one process through the same trials, and neither an evaluation, a bad step nor a refused
checkpoint leaves a trace: one process's run, and one launch of two ranks that takes every other engine along.

The trials stand in one file, so that workers who share the files of a suite run them once.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_cases import disturbed, in_bf16, interrupted, resumed, uninterrupted
from engine_trial import DISTRIBUTED, FROZEN, KINDS, LOG_SCALE, SAVED, VARIANTS, build_module, read_state

from mmpretrain.core.weights import load_tensors
from tests.ranks import launch

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

WORKER = Path(__file__).with_name("engine_worker.py")
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Reference:
    """One process with one micro-batch; everything is measured against it."""

    folder: Path
    full: Records
    frozen: Records


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("engines")
    full = uninterrupted("single", micros=1)
    return Reference(folder, full, interrupted("single", folder / "single", micros=1))


@pytest.fixture(scope="module")
def report(reference: Reference) -> dict[str, Any]:
    """What all engines did: one process here, the others on two ranks."""
    folder = reference.folder
    launch(WORKER, str(folder), timeout=240)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    micro = folder / "single_micro"
    report["uninterrupted"]["single"] = uninterrupted("single", micros=3)
    report["interrupted"]["single"] = interrupted("single", micro, micros=3)
    report["disturbed"]["single"] = disturbed("single", micro)
    report["resumed"]["single"] = resumed("single", folder)
    report["bf16"]["single"] = in_bf16("single")
    return report


NUMBERS = ("loss", "norm", "contrastive/loss", "contrastive/scale")


def assert_same_course(found: list[dict[str, Any]], expected: list[dict[str, Any]], rtol: float) -> None:
    assert len(found) == len(expected)
    for name in NUMBERS:
        assert [record[name] for record in found] == pytest.approx([r[name] for r in expected], rel=rtol, abs=0), name


@pytest.mark.parametrize("kind", DISTRIBUTED)
def test_two_ranks_take_the_steps_of_one_process(kind: str, report: dict[str, Any], reference: Reference) -> None:
    assert_same_course(report["uninterrupted"][kind], reference.full, rtol=1e-6)


def test_micro_batches_in_one_process_take_the_steps_of_the_full_batch(
    report: dict[str, Any], reference: Reference
) -> None:
    assert_same_course(report["uninterrupted"]["single"], reference.full, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_three_micro_batches_and_a_frozen_embedding_take_the_same_steps(
    kind: str, report: dict[str, Any], reference: Reference
) -> None:
    assert_same_course(report["interrupted"][kind], reference.frozen, rtol=1e-6)


def test_the_run_is_worth_comparing(reference: Reference) -> None:
    for records in (reference.full, reference.frozen):
        assert all(record["applied"] and record["norm"] > 1 for record in records), "clipping is active"
        assert len({record["contrastive/scale"] for record in records}) == len(records), "the temperature moves"
        assert len({record["loss"] for record in records}) == len(records)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_any_engine_goes_on_from_what_any_other_saved(
    kind: str, source: str, report: dict[str, Any], reference: Reference
) -> None:
    if kind == source:
        folder = reference.folder / ("single_micro" if kind == "single" else kind) / "disturbed_end"
        records = report["disturbed"][kind]["records"]
    else:
        folder = reference.folder / kind / f"from_{source}"
        records = report["resumed"][kind][source]
    assert_same_course(records, reference.frozen[3:], rtol=2e-6)
    assert_same_tensors(folder, reference)


@pytest.mark.parametrize("name", VARIANTS)
def test_other_settings_of_an_engine_take_the_same_steps(
    name: str, report: dict[str, Any], reference: Reference
) -> None:
    assert_same_course(report["varied"][name], reference.frozen[3:], rtol=2e-6)
    assert_same_tensors(reference.folder / name / "end", reference)
    mine, whole = (read_state(reference.folder / folder)[1] for folder in (name, "single/end_state"))
    assert mine.steps == whole.steps
    assert mine.moments.keys() == whole.moments.keys()
    assert all((mine.moments[each] - tensor).abs().max() <= 1e-6 for each, tensor in whole.moments.items())


def assert_same_tensors(folder: Any, reference: Reference) -> None:
    """Weights and average of a finished run, the frozen embedding and the temperature among them."""
    initial = build_module(frozen=True).state_dict()
    for file in ("weights", "average"):
        found = load_tensors(folder / f"{file}.safetensors")
        expected = load_tensors(reference.folder / "single" / "end" / f"{file}.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert (found[name] - tensor).abs().max() <= 1e-6, f"{file} of {name}"
        assert found[FROZEN].equal(initial[FROZEN])
        assert not found[LOG_SCALE].equal(initial[LOG_SCALE])


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
