"""The contrastive objective: CLIP's loss, several positives, and a temperature that stays in bounds."""

import math
from collections.abc import Sequence

import pytest
import torch
from open_clip.loss import ClipLoss
from torch import Tensor
from torch.nn.functional import normalize

from mmpretrain.core.batch import Features
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.contrastive import Contrastive, ContrastiveObjective


def around(names: Sequence[str] = ()) -> Surroundings:
    return Surroundings(model=None, sources=names)


ROWS, WIDTH = 10, 16
Groups = list[int]


def features(image_groups: Groups | None = None, text_groups: Groups | None = None, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    image_BE, text_BE = (normalize(torch.randn(ROWS, WIDTH, generator=generator), dim=-1) for _ in range(2))
    return Features(
        image_BE=image_BE.requires_grad_(),
        text_BE=text_BE.requires_grad_(),
        image_group_B=torch.tensor(image_groups or list(range(ROWS))),
        text_group_B=torch.tensor(text_groups or list(range(100, 100 + ROWS))),
        source_B=torch.zeros(ROWS, dtype=torch.int64),
    )


def with_log_scale(value: float, max_scale: float = 100.0) -> ContrastiveObjective:
    objective = Contrastive(max_scale=max_scale, scale=1.0).build(around())
    with torch.no_grad():
        objective.log_scale.fill_(value)
    return objective


def aligned() -> Features:
    """Every pair agrees perfectly, so a colder softmax is always better."""
    image_BE = torch.eye(ROWS, WIDTH).requires_grad_()
    return features()._replace(image_BE=image_BE, text_BE=image_BE.detach().clone())


def opposed() -> Features:
    """Every picture prefers the next row's text, so a colder softmax is always worse."""
    return aligned()._replace(text_BE=torch.eye(ROWS, WIDTH).roll(1, dims=0))


def share(objective: ContrastiveObjective, given: Features) -> Tensor:
    return objective(given, torch.tensor(float(ROWS)))[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("log_scale", [0.0, math.log(1 / 0.07), math.log(99.0)])
def test_it_is_open_clips_loss_where_all_groups_differ(log_scale: float) -> None:
    objective, here, there = with_log_scale(log_scale), features(), features()
    theirs = torch.tensor(log_scale, requires_grad=True)
    expected = ClipLoss()(there.image_BE, there.text_BE, theirs.exp())
    found = share(objective, here)
    expected.backward()
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for ours, gradient in ((here.image_BE, there.image_BE), (here.text_BE, there.text_BE)):
        torch.testing.assert_close(ours.grad, gradient.grad, rtol=1e-5, atol=1e-6)
    assert objective.log_scale.grad.item() == pytest.approx(theirs.grad.item(), rel=1e-5, abs=1e-6)


GROUPS: list[tuple[Groups, Groups]] = [
    ([0, 0, 0, 1, 2, 3, 4, 5, 6, 7], list(range(ROWS))),
    (list(range(ROWS)), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
    # rows 0 and 1 share the picture, 1 and 2 the text: 0 and 2 are no positives of each other
    ([0, 0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
    ([0] * ROWS, [0] * ROWS),
]


@pytest.mark.parametrize(("image_groups", "text_groups"), GROUPS)
def test_several_positives_share_a_row_evenly(image_groups: Groups, text_groups: Groups) -> None:
    objective, given = with_log_scale(2.0), features(image_groups, text_groups)
    assert share(objective, given).item() == pytest.approx(plain_loop(given, math.exp(2.0)), rel=1e-6)


def plain_loop(given: Features, scale: float) -> float:
    """The formula of the docstring, row by row in double precision."""
    images, texts = given.image_BE.double().tolist(), given.text_BE.double().tolist()

    def same(i: int, j: int) -> bool:
        images_are = bool(given.image_group_B[i] == given.image_group_B[j])
        return images_are or bool(given.text_group_B[i] == given.text_group_B[j])

    def row(queries: list[list[float]], answers: list[list[float]], i: int) -> float:
        logits = [scale * math.fsum(a * b for a, b in zip(queries[i], answer, strict=True)) for answer in answers]
        log_total = math.log(math.fsum(math.exp(logit) for logit in logits))
        positives = [j for j in range(ROWS) if same(i, j)]
        return -math.fsum(logits[j] - log_total for j in positives) / len(positives)

    return math.fsum(row(images, texts, i) + row(texts, images, i) for i in range(ROWS)) / 2 / ROWS


def test_above_the_bound_a_gradient_that_would_push_further_is_cut_off() -> None:
    objective = with_log_scale(math.log(50.0) + 0.5, max_scale=50.0)
    share(objective, aligned()).backward()
    assert objective.log_scale.grad.item() == 0


def test_above_the_bound_a_gradient_that_leads_back_passes_whole() -> None:
    above, at = with_log_scale(math.log(50.0) + 0.5, max_scale=50.0), with_log_scale(math.log(50.0), max_scale=50.0)
    for objective in (above, at):
        share(objective, opposed()).backward()
    assert above.log_scale.grad.item() > 0
    assert above.log_scale.grad.item() == pytest.approx(at.log_scale.grad.item(), rel=1e-6)


def test_below_the_bound_the_gradient_is_untouched_in_both_directions() -> None:
    signs = []
    for given in (aligned(), opposed()):
        objective = with_log_scale(1.0)
        share(objective, given).backward()
        signs.append(math.copysign(1, objective.log_scale.grad.item()))
    assert signs == [-1, 1]


def test_a_long_push_against_the_bound_does_not_keep_the_temperature_from_coming_back() -> None:
    objective = with_log_scale(math.log(9.0), max_scale=10.0)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.05, betas=(0.9, 0.98), weight_decay=0.0)

    def take(given: Features) -> float:
        optimizer.zero_grad()
        total, metrics = objective(given, torch.tensor(float(ROWS)))
        total.backward()
        optimizer.step()
        return metrics["scale"].item()

    assert max(take(aligned()) for _ in range(200)) <= 10 * (1 + 1e-6)
    assert objective.log_scale.item() < math.log(10.0) + 1, "the stored value stops near the bound"
    assert min(take(opposed()) for _ in range(100)) < 9
