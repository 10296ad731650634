"""Distillation is open_clip's loss; a teacher of another resolution and vocabulary teaches by vectors kept on disk."""

import math
from pathlib import Path

import pytest
import torch
from open_clip.loss import DistillClipLoss
from rich.console import Console
from torch.nn.functional import normalize

from mmpretrain.core.batch import Features
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.distillation import Distillation
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter

ROWS, WIDTH, TEACHER = 10, 8, 6
QUIET = Console(quiet=True)


def vectors(width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(ROWS, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("scale", [1.0, 14.0, 100.0])
def test_it_is_open_clips_distillation_loss(scale: float) -> None:
    image_BE, text_BE = vectors(WIDTH, 0).requires_grad_(), vectors(WIDTH, 1).requires_grad_()
    teacher = (vectors(TEACHER, 2), vectors(TEACHER, 3))
    settings = Distillation(teacher="any", scale=scale, teacher_scale=20.0)
    objective = settings.build(Surroundings(model=None))
    rows = torch.arange(ROWS)
    found, _ = objective(Features(image_BE, text_BE, rows, rows, rows * 0, teacher=teacher), torch.tensor(float(ROWS)))
    log_scale = torch.tensor(math.log(scale), requires_grad=True)
    theirs = DistillClipLoss()(image_BE, text_BE, log_scale.exp(), *teacher, torch.tensor(20.0), output_dict=True)[
        "distill_loss"
    ]
    assert found.item() == pytest.approx(theirs.item(), rel=1e-6)
    ours = torch.autograd.grad(found, [image_BE, text_BE, objective.log_scale])
    expected = torch.autograd.grad(theirs, [image_BE, text_BE, log_scale])
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.squeeze(), other.squeeze(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("embeddings", [0.0, 2.0])
def test_a_student_learns_from_a_run_of_another_size_and_vocabulary(
    toy_config: ConfigWriter, tmp_path: Path, embeddings: float
) -> None:
    teacher = pretrain(toy_config("teacher"), [], "never", QUIET)
    distillation = {"kind": "distillation", "teacher": str(teacher.folder), "cache": str(tmp_path / "cache")}
    objectives = [{**distillation, "embeddings": embeddings}]
    student = {
        "objectives": objectives,
        "towers__image__name": "test_vit",
        "towers__image__size": 64,
        "towers__embedding": 8,
        "data__tokenizer": {"kind": "clip", "context_length": 16},
    }
    losses = []
    for micros in (1, 3):
        config = toy_config(f"student{micros}", **student, train__micro_batches=micros)
        losses.append([record["loss"] for record in read_json_lines(pretrain(config, [], "never", QUIET).metrics)])
        (kept,) = (tmp_path / "cache").iterdir()
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    changed = kept.stat().st_mtime_ns
    pretrain(toy_config("again", **student), [], "never", QUIET)
    assert kept.stat().st_mtime_ns == changed, "a second student reads what the first one had computed"


def test_a_teacher_without_checkpoint_is_named(toy_config: ConfigWriter, tmp_path: Path) -> None:
    objectives = [{"kind": "distillation", "teacher": str(tmp_path / "nobody")}]
    with pytest.raises(ConfigError, match="nobody"):
        pretrain(toy_config(objectives=objectives), [], "never", QUIET)
