"""Every engine follows one process: losses, gradient norms, temperature, weights and average."""

from typing import Any

import pytest
from conftest import Reference
from engine_trial import DISTRIBUTED, FROZEN, KINDS, LOG_SCALE, VARIANTS, build_module, read_state

from mmpretrain.core.weights import load_tensors

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

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
