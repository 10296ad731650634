"""The sigmoid objective is SigLIP's loss, with any number of positives a row."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from open_clip.loss import SigLipLoss
from torch.nn.functional import normalize

from mmpretrain.core.batch import Features
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.sigmoid import Sigmoid


def around(names: Sequence[str] = ()) -> Surroundings:
    return Surroundings(model=None, sources=names)


ROWS, WIDTH = 10, 16


def features(**groups: Any) -> Features:
    generator = torch.Generator().manual_seed(0)
    image_BE, text_BE = (normalize(torch.randn(ROWS, WIDTH, generator=generator), dim=-1) for _ in range(2))
    given = Features(
        image_BE=image_BE.requires_grad_(),
        text_BE=text_BE.requires_grad_(),
        image_group_B=torch.arange(ROWS),
        text_group_B=torch.arange(ROWS),
        source_B=torch.zeros(ROWS, dtype=torch.int64),
    )
    return given._replace(**{name: torch.tensor(group) for name, group in groups.items()})


@pytest.mark.parametrize("scale", [1.0, 10.0, 99.0])
@pytest.mark.parametrize("bias", [-10.0, 0.0, 3.0])
def test_it_is_open_clips_loss_where_all_groups_differ(scale: float, bias: float) -> None:
    objective, here, there = Sigmoid(scale=scale, bias=bias).build(around()), features(), features()
    log_scale, theirs = (torch.tensor(value, requires_grad=True) for value in (math.log(scale), bias))
    expected = SigLipLoss()(there.image_BE, there.text_BE, log_scale.exp(), theirs)
    found = objective(here, torch.tensor(float(ROWS)))[0]
    expected.backward()
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for ours, gradient in ((here.image_BE, there.image_BE), (here.text_BE, there.text_BE)):
        torch.testing.assert_close(ours.grad, gradient.grad, rtol=1e-5, atol=1e-6)
    assert objective.log_scale.grad.item() == pytest.approx(log_scale.grad.item(), rel=1e-5, abs=1e-6)
    assert objective.bias.grad.item() == pytest.approx(theirs.grad.item(), rel=1e-5, abs=1e-6)


def test_several_positives_are_each_asked_for() -> None:
    # rows 0 and 1 share the picture, 1 and 2 the text: 0 and 2 do not belong together
    given = features(image_group_B=[0, 0, 1, 2, 3, 4, 5, 6, 7, 8], text_group_B=[0, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    together = {(0, 1), (1, 0), (1, 2), (2, 1), *((row, row) for row in range(ROWS))}
    cosines = (given.image_BE.double() @ given.text_BE.double().T).tolist()
    logits = {(i, j): 10 * cosines[i][j] - 10 for i in range(ROWS) for j in range(ROWS)}
    expected = math.fsum(math.log1p(math.exp(-x if pair in together else x)) for pair, x in logits.items()) / ROWS
    found = Sigmoid().build(around())(given, torch.tensor(float(ROWS)))[0]
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_it_starts_as_the_paper_does() -> None:
    objective = Sigmoid().build(around())
    assert objective.log_scale.exp().item() == pytest.approx(10)
    assert objective.bias.item() == -10
    assert [parameter.shape for parameter in objective.parameters()] == [(1,), (1,)]
