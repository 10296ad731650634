"""A mix of objectives from start to end: resumed bit for bit, and under ZeRO-3 on two ranks as in one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run, list_checkpoints
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.folder import read_folder
from mmpretrain.report.written import build_written
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)
MIX = {
    "towers": {
        "image": {"kind": "timm", "name": "test_vit", "size": 64},
        "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2, "dropout": 0.1},
        "fusion": {"layers": 1},
        "decoder": {"layers": 1, "shares": "fusion", "own_attention": True},
        "embedding": 16,
        "view_hidden": 16,
        "view_embedding": 16,
    },
    "objectives": [
        {"kind": "contrastive"},
        {"kind": "matching", "negatives_within": 3},
        {"kind": "image_masked_language", "share": 0.4, "words": "seen"},
        {"kind": "captioning", "weight": [[0, 0.5], [6, 1.0]], "words": "seen"},
        {"kind": "masked_image", "weight": 0.1},
        {"kind": "views", "weight": 0.1},
    ],
    "evaluation": [{"kind": "retrieval", "split": "val"}, {"kind": "held_out", "split": "val"}],
    "train": {"steps": 6, "log_every": 1, "save_every": 2, "keep_last": 5},
}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_tensors(list_checkpoints(run.checkpoints)[-1] / "weights.safetensors")


@pytest.mark.parametrize("micros", [1, 2])
def test_a_run_that_was_killed_ends_bit_for_bit_as_one_that_was_not(toy_config: ConfigWriter, micros: int) -> None:
    more = {**MIX, "train": {**MIX["train"], "micro_batches": micros}}  # type: ignore[dict-item]
    whole = pretrain(toy_config("whole", **more), [], "never", QUIET)
    killed = pretrain(toy_config("killed", **more), [], "never", QUIET)
    killed.complete.unlink()
    for folder in list_checkpoints(killed.checkpoints)[1:]:
        folder.rename(folder.with_name(f"{folder.name}.tmp"))
    resumed = pretrain(toy_config("killed", **more), [], "auto", QUIET)
    expected, found = weights(whole), weights(resumed)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


ZERO_3 = {"kind": "deepspeed", "stage": 3, "precision": "fp32", "timeout_seconds": 60, "persistence_threshold": 0}


def on_two_ranks(config: Path) -> Run:
    """Run a config of `toy_config` to its end."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    answer = subprocess.run(
        [sys.executable, *launcher, "-m", "mmpretrain", "pretrain", str(config)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return Run(config.parent / "runs" / config.stem)


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_two_ranks_of_zero_3_train_ask_and_write_as_one_process(toy_config: ConfigWriter) -> None:
    # without dropout: two ranks draw other numbers than one
    towers = {**MIX["towers"], "text": {**MIX["towers"]["text"], "dropout": 0.0}}  # type: ignore[dict-item,index]
    one = pretrain(toy_config("one", **{**MIX, "towers": towers}), [], "never", QUIET)
    config = toy_config("two", **{**MIX, "towers": towers, "engine": ZERO_3})
    two = on_two_ranks(config)
    for first, second in zip(read_json_lines(one.metrics), read_json_lines(two.metrics), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=2e-5)
    asked = [read_json_lines(run.results)[-1]["metrics"] for run in (one, two)]
    assert asked[0].keys() == asked[1].keys()
    for name in ("captioning_loss", "matching_loss", "masked_image_loss"):
        assert asked[0][name]["value"] == pytest.approx(asked[1][name]["value"], rel=1e-3)
    written = [build_written(read_folder(run)) for run in (one, two)]
    assert all(split and split[0].captions for split in written)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(300)
def test_a_student_learns_the_same_under_zero_3(toy_config: ConfigWriter, tmp_path: Path) -> None:
    """With a map of its own in the cached pass, whole on no rank."""
    teacher = pretrain(toy_config("teacher"), [], "never", QUIET)
    distillation = {"kind": "distillation", "teacher": str(teacher.folder), "cache": str(tmp_path / "cache")}
    more = {
        "objectives": [{"kind": "contrastive"}, {**distillation, "embeddings": 1.0}],
        "evaluation": [],
        "train": {"steps": 4, "log_every": 1, "micro_batches": 2},
    }
    one = pretrain(toy_config("one", **more), [], "never", QUIET)
    two = on_two_ranks(toy_config("two", **more, engine=ZERO_3))
    for first, second in zip(read_json_lines(one.metrics), read_json_lines(two.metrics), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_a_student_learns_the_same_beside_its_teacher_under_zero_3(toy_config: ConfigWriter) -> None:
    """The teacher is whole on every rank; the student, what hides its words and its maps are whole on none."""
    text = {"kind": "bidirectional", "width": 16, "layers": 2, "heads": 2}
    more = {
        "towers__text": text,
        "data__tokenizer": {"kind": "clip", "context_length": 16},
        "objectives": [{"kind": "contrastive"}, {"kind": "masked_language", "words": "seen", "share": 0.4}],
        "evaluation": [],
        "train": {"steps": 4, "log_every": 1, "micro_batches": 2},
    }
    teacher = pretrain(toy_config("teacher", **more), [], "never", QUIET)
    taught = {
        "kind": "text_distillation",
        "teacher": str(teacher.folder),
        "logits": 1.0,
        "hidden": 1.0,
        "attention": 1.0,
        "layers": [[0, 0], [1, 2]],
        "relations": 1.0,
    }
    more = {**more, "towers__text": {**text, "layers": 1}, "objectives": [*more["objectives"], taught]}  # type: ignore[misc]
    one = pretrain(toy_config("one", **more), [], "never", QUIET)
    two = on_two_ranks(toy_config("two", **more, engine=ZERO_3))
    for first, second in zip(read_json_lines(one.metrics), read_json_lines(two.metrics), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        assert second["text_distillation/loss"] == pytest.approx(first["text_distillation/loss"], rel=1e-5)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)
    assert weights(one).keys() == weights(two).keys()
