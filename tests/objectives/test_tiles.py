"""Losses tile by tile are those of the whole matrix, and so are their gradients."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmpretrain.objectives.contrastive import softmax_loss
from mmpretrain.objectives.distillation import Vectors, imitation_loss
from mmpretrain.objectives.sigmoid import sigmoid_loss
from mmpretrain.objectives.tiles import SIDE, Relation
from mmpretrain.objectives.views import Shown, views_loss

ROWS, WIDTH = 37, 8
Loss = Callable[..., Tensor]


class Arguments(NamedTuple):
    """What has a gradient."""

    image_BE: Tensor
    text_BE: Tensor
    scale: Tensor
    bias: Tensor


def arguments(scale: float, rows: int = ROWS, seed: int = 0, width: int = WIDTH) -> Arguments:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2)]
    features = [normalize(part, dim=-1).requires_grad_() for part in draw]
    numbers = [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (scale, -scale / 2)]
    return Arguments(*features, *numbers)


def groups(kind: str, rows: int = ROWS, seed: int = 0) -> Relation:
    generator = torch.Generator().manual_seed(seed)
    if kind == "all":
        image_group_B = text_group_B = torch.zeros(rows, dtype=torch.int64)
    elif kind == "none but one":
        image_group_B, text_group_B = torch.arange(rows), torch.arange(rows) + 2**60
    else:
        image_group_B, text_group_B = (torch.randint(-9, 9, (rows,), generator=generator) for _ in range(2))
    return Relation(image_group_B, text_group_B, slice(0, rows))


def positives(relation: Relation) -> Tensor:
    image_group_B, text_group_B, _ = relation
    return (image_group_B[:, None] == image_group_B) | (text_group_B[:, None] == text_group_B)


def dense_softmax(given: Arguments, relation: Relation) -> Tensor:
    logits_BB = given.scale * given.image_BE @ given.text_BE.T
    target_BB = positives(relation).double()
    target_BB = target_BB / target_BB.sum(dim=1, keepdim=True)
    return -sum((target_BB * direction_BB.log_softmax(dim=1)).sum() for direction_BB in (logits_BB, logits_BB.T))


def dense_sigmoid(given: Arguments, relation: Relation) -> Tensor:
    logits_BB = given.scale * given.image_BE @ given.text_BE.T + given.bias
    return -logsigmoid(torch.where(positives(relation), logits_BB, -logits_BB)).sum()


def tiled_softmax(given: Arguments, relation: Relation, **options: int) -> Tensor:
    return softmax_loss(*given[:3], relation, **options)


def tiled_sigmoid(given: Arguments, relation: Relation, **options: int) -> Tensor:
    return sigmoid_loss(*given, relation, **options)


TEACHER_WIDTH, TEACHER_SCALE, VIEWS_SCALE = 5, 7.0, 10.0


def teacher(given: Arguments) -> Vectors:
    """Of another width, and of one opinion whatever the student says."""
    generator = torch.Generator().manual_seed(5)
    draw = (torch.randn(len(given.image_BE), TEACHER_WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    return Vectors(*(normalize(part, dim=-1).to(given.image_BE.dtype) for part in draw))


def dense_imitation(given: Arguments, relation: Relation) -> Tensor:
    taught = teacher(given)
    student_BB = given.scale * given.image_BE @ given.text_BE.T
    teacher_BB = TEACHER_SCALE * taught.image_RE @ taught.text_CE.T
    return -sum(
        (target_BB.softmax(dim=1) * direction_BB.log_softmax(dim=1)).sum()
        for direction_BB, target_BB in ((student_BB, teacher_BB), (student_BB.T, teacher_BB.T))
    )


def tiled_imitation(given: Arguments, relation: Relation, **options: int) -> Tensor:
    return imitation_loss(Vectors(*given[:2]), teacher(given), given.scale, TEACHER_SCALE, relation.own, **options)


def dense_views(given: Arguments, relation: Relation) -> Tensor:
    """Of pictures and texts as two views; the scale is fixed."""
    view_XE = torch.cat(given[:2])
    itself_XX = torch.eye(len(view_XE), dtype=torch.bool)
    logits_XX = (VIEWS_SCALE * view_XE @ view_XE.T).masked_fill(itself_XX, -1e9)
    picture_X = relation.image_group_C.repeat(2)
    target_XX = ((picture_X[:, None] == picture_X) & ~itself_XX).to(logits_XX.dtype)
    target_XX = target_XX / target_XX.sum(dim=1, keepdim=True)
    return -(target_XX * logits_XX.log_softmax(dim=1)).sum()


def tiled_views(given: Arguments, relation: Relation, **options: int) -> Tensor:
    shown = Shown(relation.image_group_C.repeat(2), torch.arange(2 * len(given.image_BE)))
    return views_loss(torch.cat(given[:2]), torch.cat(given[:2]), VIEWS_SCALE, shown, shown, **options)


def gradients(loss: Tensor, given: Arguments) -> list[Tensor]:
    # of some other sum than the loss alone, so that its own gradient is not 1
    found = torch.autograd.grad(3 * loss, given, allow_unused=True)
    return [torch.zeros(()) if gradient is None else gradient for gradient in found]


def assert_equal(found: Tensor, expected: Tensor) -> None:
    difference, size = (found - expected).norm().item(), expected.norm().item()
    assert difference <= 1e-10 * max(size, 1e-3), (difference, size)


LOSSES = {
    "softmax": (tiled_softmax, dense_softmax),
    "sigmoid": (tiled_sigmoid, dense_sigmoid),
    "imitation": (tiled_imitation, dense_imitation),
    "views": (tiled_views, dense_views),
}
every = pytest.mark.parametrize(("tiled", "dense"), LOSSES.values(), ids=LOSSES)


@every
@pytest.mark.parametrize("kind", ["none but one", "some", "all"])
@pytest.mark.parametrize("side", [1, 5, 16, 37, 1024])
@pytest.mark.parametrize("scale", [1.0, 14.0, 100.0])
def test_loss_and_gradients_are_those_of_the_whole_matrix(
    tiled: Loss, dense: Loss, kind: str, side: int, scale: float
) -> None:
    given, relation = arguments(scale), groups(kind)
    found, expected = tiled(given, relation, side=side), dense(given, relation)
    assert_equal(found, expected)
    for ours, theirs in zip(gradients(found, given), gradients(expected, given), strict=True):
        assert_equal(ours, theirs)


@every
def test_gradients_are_those_of_finite_differences(tiled: Loss, dense: Loss) -> None:
    given, relation = arguments(3.0, rows=5, width=3), groups("some", rows=5)
    used = given[: {tiled_sigmoid: 4, tiled_views: 2}.get(tiled, 3)]

    def loss(*changed: Tensor) -> Tensor:
        return tiled(Arguments(*changed, *given[len(changed) :]), relation, side=2)

    assert torch.autograd.gradcheck(loss, used)


@every
@pytest.mark.parametrize("rows", [1, 2, ROWS])
@pytest.mark.parametrize("length", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("kind", ["none but one", "all"])
def test_everything_stays_finite(tiled: Loss, dense: Loss, rows: int, length: float, kind: str) -> None:
    """Features of no length, of far too much (logits of a hundred million), and a single row, in fp32."""
    double = arguments(100.0, rows)
    given = Arguments(*(part.detach().float().requires_grad_() for part in double))
    features = (length * given.image_BE, length * given.text_BE)
    loss = tiled(Arguments(*features, *given[2:]), groups(kind, rows), side=16)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(loss, given))


@every
def test_no_row_at_all_is_a_loss_of_zero_with_gradients_of_zero(tiled: Loss, dense: Loss) -> None:
    given = arguments(14.0, rows=0)
    loss = tiled(given, groups("some", rows=0))
    assert loss.item() == 0
    assert all((gradient == 0).all() for gradient in gradients(loss, given))


def test_in_fp32_a_cold_softmax_loses_no_more_than_the_whole_matrix_does() -> None:
    double, relation = arguments(100.0, rows=500), groups("none but one", rows=500)
    single = Arguments(*(part.detach().float().requires_grad_() for part in double))
    truth = dense_softmax(double, relation)
    ours, theirs = tiled_softmax(single, relation, side=64), dense_softmax(single, relation)
    assert abs(ours.item() - truth.item()) <= 2 * abs(theirs.item() - truth.item()) + 1e-6 * truth.item()


@pytest.mark.parametrize("kind", ["none but one", "some", "all"])
def test_positives_are_counted_without_looking_at_pairs(kind: str) -> None:
    relation = groups(kind)
    assert relation.counts().tolist() == positives(relation).sum(dim=0).tolist()


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        results = function(*arguments, **(options or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return results


@every
def test_no_tensor_is_larger_than_a_tile_or_the_features(tiled: Loss, dense: Loss) -> None:
    rows = 2 * SIDE + 100
    given, relation = arguments(14.0, rows), groups("some", rows)
    with Largest() as ours:
        tiled(given, relation).backward()
    with Largest() as theirs:
        dense(given, relation).backward()
    assert theirs.elements >= rows * rows
    assert ours.elements == SIDE * SIDE
    assert rows * WIDTH < SIDE * SIDE
