"""Time and memory of the losses tile by tile, against open_clip's, which hold the matrix of all pairs."""

import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from open_clip.loss import ClipLoss, DistillClipLoss, SigLipLoss
from torch import Tensor
from torch.nn.functional import normalize

from mmpretrain.bench.memory import beyond, in_fresh_process
from mmpretrain.bench.row import Ratio
from mmpretrain.bench.turns import Turn, in_turns, timed
from mmpretrain.core.batch import Features
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.distillation import Distillation
from mmpretrain.objectives.sigmoid import Sigmoid

SCALES = (14.0, 100.0)
"""A young model's inverse temperature, and the bound where most end."""
LOSSES = ("contrastive", "sigmoid", "distillation")
WARM_UP = 64
"""Rows of a first turn, which loads what torch loads on first use."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One form of one loss."""

    loss: str
    form: str
    """tiled or dense"""
    rows: int
    width: int
    scale: float
    seconds: float
    """Forward and backward, median over rounds."""
    ratio: float
    """Seconds of the tiled form over those of this one, median over rounds of the ratio within a round."""
    low: float
    high: float
    megabytes: float
    """Most memory at a time beyond that before, the features' gradients included."""
    difference: float
    """Of the loss's value from the tiled form's, relative."""


def run(rows: int, width: int, rounds: int, tiled_only: bool) -> list[Row]:
    """Measure every loss at every scale."""
    forms = ("tiled",) if tiled_only else ("tiled", "dense")
    return [row for loss in LOSSES for scale in SCALES for row in measure(loss, forms, rows, width, scale, rounds)]


def measure(loss: str, forms: tuple[str, ...], rows: int, width: int, scale: float, rounds: int) -> list[Row]:
    """Rounds of all forms in turn, after a fresh process of each that looks at its memory."""
    megabytes = {form: peak_of_process(loss, form, rows, width, scale) for form in forms}
    seconds, values = spent(loss, forms, rows, width, scale, rounds)
    found = []
    for form, taken in seconds.items():
        ratio = Ratio.of(seconds["tiled"], taken)
        found.append(
            Row(
                loss=loss,
                form=form,
                rows=rows,
                width=width,
                scale=scale,
                seconds=statistics.median(taken),
                ratio=ratio.median,
                low=ratio.low,
                high=ratio.high,
                megabytes=megabytes[form],
                difference=abs(values[form] / values["tiled"] - 1),
            )
        )
    return found


def spent(
    loss: str, forms: Sequence[str], rows: int, width: int, scale: float, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every form, a number a round, and the value of the loss."""
    for form in forms:
        turn(loss, form, WARM_UP, width, scale)()
    calls = {form: turn(loss, form, rows, width, scale) for form in forms}
    values: dict[str, float] = {}

    def keeping(form: str) -> Turn:
        return timed(lambda: values.update({form: calls[form]()}))

    return in_turns({form: keeping(form) for form in forms}, rounds, warm_up=0), values


def threads() -> int:
    """How many torch computes with."""
    return torch.get_num_threads()


def turn(loss: str, form: str, rows: int, width: int, scale: float) -> Callable[[], float]:
    """Forward and backward of one loss on features of its own; returns the loss."""
    features, loss_of = pairs(rows, width), _FORMS[loss, form](scale)

    def once() -> float:
        features.image_BE.grad = features.text_BE.grad = None
        value = loss_of(features)
        value.backward()
        return value.item()

    return once


def pairs(rows: int, width: int) -> Features:
    """Unit features whose pairs have a cosine of about 0.2: a loss near 1 at either scale."""
    generator = torch.Generator().manual_seed(0)
    image_BE, noise_BE = (normalize(torch.randn(rows, width, generator=generator), dim=-1) for _ in range(2))
    text_BE, number_B = normalize(image_BE + 5 * noise_BE, dim=-1), torch.arange(rows)
    # the teacher's pairs agree more
    teacher = (image_BE.clone(), normalize(image_BE + 3 * noise_BE, dim=-1))
    pair = image_BE.requires_grad_(), text_BE.requires_grad_()
    return Features(*pair, number_B, number_B, torch.zeros_like(number_B), teacher=teacher)


# -- forms ------------------------------------------------------------------------------------------------

LossOf = Callable[[Features], Tensor]


def tiled_contrastive(scale: float) -> LossOf:
    objective = Contrastive(scale=scale).build(Surroundings(model=None))
    return lambda features: objective(features, torch.tensor(float(len(features.image_BE))))[0]


def tiled_sigmoid(scale: float) -> LossOf:
    objective = Sigmoid(scale=scale).build(Surroundings(model=None))
    return lambda features: objective(features, torch.tensor(float(len(features.image_BE))))[0]


def tiled_distillation(scale: float) -> LossOf:
    objective = Distillation(teacher="any", scale=scale, teacher_scale=scale).build(Surroundings(model=None))
    return lambda features: objective(features, torch.tensor(float(len(features.image_BE))))[0]


def dense_contrastive(scale: float) -> LossOf:
    loss, log_scale = ClipLoss(), torch.tensor(math.log(scale), requires_grad=True)
    return lambda features: loss(features.image_BE, features.text_BE, log_scale.exp())


def dense_sigmoid(scale: float) -> LossOf:
    loss, log_scale = SigLipLoss(), torch.tensor(math.log(scale), requires_grad=True)
    bias = torch.tensor(-10.0, requires_grad=True)
    return lambda features: loss(features.image_BE, features.text_BE, log_scale.exp(), bias)


def dense_distillation(scale: float) -> LossOf:
    """The distilled half of open_clip's loss, without the contrastive one."""
    loss, log_scale = DistillClipLoss(), torch.tensor(math.log(scale), requires_grad=True)

    def both_ways(features: Features) -> Tensor:
        student = loss.get_logits(features.image_BE, features.text_BE, log_scale.exp())
        teacher = loss.get_logits(*features.teacher, scale)
        by_image, by_text = (loss.dist_loss(*pair) for pair in zip(teacher, student, strict=True))
        return (by_image + by_text) / 2

    return both_ways


_FORMS: dict[tuple[str, str], Callable[[float], LossOf]] = {
    ("contrastive", "tiled"): tiled_contrastive,
    ("contrastive", "dense"): dense_contrastive,
    ("sigmoid", "tiled"): tiled_sigmoid,
    ("sigmoid", "dense"): dense_sigmoid,
    ("distillation", "tiled"): tiled_distillation,
    ("distillation", "dense"): dense_distillation,
}


# -- memory -----------------------------------------------------------------------------------------------


def peak_of_process(loss: str, form: str, rows: int, width: int, scale: float) -> float:
    """Megabytes that one turn takes in a process of its own."""
    return in_fresh_process(__name__, loss, form, rows, width, scale)


def peak(loss: str, form: str, rows: int, width: int, scale: float) -> float:
    """Megabytes that one turn takes beyond what this process has had before it."""
    turn(loss, form, WARM_UP, width, scale)()
    return beyond(turn(loss, form, rows, width, scale))


if __name__ == "__main__":
    print(peak(*json.loads(sys.argv[1])))
