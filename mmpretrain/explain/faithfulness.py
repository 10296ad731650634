"""Whether a map shows what a score hangs on: deletion and insertion, and where its most stands.

Deletion (Petsiuk, Das and Saenko 2018, arXiv 1806.07421): pixels are removed in the order of the map, and the mean of
the score over the way is taken; it is low where the first pixels carry the score. Insertion adds them to a picture of
which everything was removed; it is high. An order drawn by lot and one from the centre outwards say what any order
gives.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.evaluation.interval import Figure, bootstrap_means, figure
from mmpretrain.explain.base import Maker, Target
from mmpretrain.explain.fills import Fill, filled

RANDOM, CENTRE = "random", "centre"


@settings
class Faithfulness:
    """How it is measured."""

    steps: Annotated[int, Field(ge=2)] = 32
    """Steps in which all pixels are removed."""
    fill: Fill = "blur"
    """What takes the place of removed pixels."""
    draws: Annotated[int, Field(ge=1)] = 5
    """Random orders of each picture, whose mean is taken."""
    seed: int = 0
    """Of the random orders, and of the order of pixels on which a map says the same."""


@dataclass
class Tally:
    """What was found of a method, picture by picture."""

    deletion: list[float] = field(default_factory=list)
    insertion: list[float] = field(default_factory=list)
    pointing: list[float] = field(default_factory=list)
    """1 where the map's most stands inside the mask."""
    mass: list[float] = field(default_factory=list)
    """Share of the map inside the mask."""
    seconds: list[float] = field(default_factory=list)


def look(
    tallies: dict[str, Tally],
    makers: dict[str, Maker],
    model: Any,
    target: Target,
    image_CHW: Tensor,
    mask_HW: Tensor | None,
    how: Faithfulness,
    number: int,
) -> None:
    """Add a picture to all tallies, those of the two priors among them.

    Args:
        mask_HW: bool, where the thing is that the target names; None: nobody knows.
        number: of the picture, for what is drawn.
    """
    score = curves_of(target, image_CHW, how)
    noise = torch.Generator().manual_seed(how.seed * 1_000_003 + number)
    ties_P = torch.randperm(image_CHW[0].numel(), generator=noise)
    for name, make in makers.items():
        began = time.perf_counter()
        map_HW = make(model, target, image_CHW).cpu()
        tallies[name].seconds.append(time.perf_counter() - began)
        _add(tallies[name], [score(order_of(map_HW, ties_P))])
        _place(tallies[name], map_HW, mask_HW)
    drawn = [torch.randperm(len(ties_P), generator=noise) for _ in range(how.draws)]
    _add(tallies[RANDOM], [score(order_P) for order_P in drawn])
    centre_HW = centre_map(image_CHW)
    _add(tallies[CENTRE], [score(order_of(centre_HW, ties_P))])
    _place(tallies[CENTRE], centre_HW, mask_HW)
    if mask_HW is not None:  # any place is as likely as any other
        tallies[RANDOM].pointing.append(float(mask_HW.float().mean()))
        tallies[RANDOM].mass.append(float(mask_HW.float().mean()))


def tallies_for(makers: dict[str, Maker]) -> dict[str, Tally]:
    return {name: Tally() for name in (*makers, RANDOM, CENTRE)}


def _add(tally: Tally, found: Sequence[tuple[float, float]]) -> None:
    deletion, insertion = np.mean(found, axis=0)
    tally.deletion.append(float(deletion))
    tally.insertion.append(float(insertion))


def _place(tally: Tally, map_HW: Tensor, mask_HW: Tensor | None) -> None:
    if mask_HW is not None:
        most_HW = map_HW == map_HW.max()  # of several places that share the most, the share inside
        tally.pointing.append(float(mask_HW[most_HW].float().mean()))
        tally.mass.append(float((map_HW * mask_HW).sum() / map_HW.sum().clamp(min=1e-12)))


def centre_map(image_CHW: Tensor) -> Tensor:
    """A Gaussian in the middle, a quarter of the sides wide."""
    _, height, width = image_CHW.shape
    rows_H = (torch.arange(height) - (height - 1) / 2) / (height / 4)
    columns_W = (torch.arange(width) - (width - 1) / 2) / (width / 4)
    return torch.exp(-(rows_H[:, None] ** 2 + columns_W**2) / 2)


def order_of(map_HW: Tensor, ties_P: Tensor) -> Tensor:
    """Pixels from the most to the least; those on which the map says the same in the order of `ties_P`."""
    return ties_P[torch.argsort(map_HW.flatten()[ties_P], descending=True, stable=True)]


def curves_of(target: Target, image_CHW: Tensor, how: Faithfulness) -> Any:
    """order_P -> (deletion, insertion), the areas under both curves over the share of pixels."""
    pixels_1CHW = image_CHW[None].float()
    fill_1CHW = filled(pixels_1CHW, how.fill)
    count = image_CHW[0].numel()
    bounds_S = torch.linspace(0, count, how.steps + 1).round()

    @torch.no_grad()
    def areas(order_P: Tensor) -> tuple[float, float]:
        place_P = torch.empty(count, dtype=torch.int64)
        place_P[order_P] = torch.arange(count)
        touched = (place_P.view(1, 1, *image_CHW.shape[1:]) < bounds_S[:, None, None, None]).to(image_CHW.device)
        deleted = target.score(torch.where(touched, fill_1CHW, pixels_1CHW))
        inserted = target.score(torch.where(touched, pixels_1CHW, fill_1CHW))
        return area(deleted), area(inserted)

    return areas


def area(score_S: Tensor) -> float:
    """Under a curve over 0 to 1, by the trapezoidal rule."""
    return float(((score_S[1:] + score_S[:-1]) / 2).mean())


def summarise(tallies: dict[str, Tally]) -> dict[str, Figure]:
    """Figures of every method with bootstrap intervals over pictures; differences are paired picture by picture.

    METHOD_deletion_above_random is what the score loses more by the map's order than by one drawn by lot: above 0 the
    map is better. Chance is the random order.
    """
    metrics: dict[str, Figure] = {}
    for name, tally in tallies.items():
        for kind in ("deletion", "insertion", "pointing", "mass"):
            value_N = np.array(getattr(tally, kind))
            if not len(value_N):
                continue
            chance = float(np.mean(getattr(tallies[RANDOM], kind)))
            metrics[f"{name}_{kind}"] = figure(value_N.mean(), bootstrap_means(value_N), chance, len(value_N))
            if name in (RANDOM, CENTRE):
                continue
            for prior in (RANDOM, CENTRE):
                prior_N = np.array(getattr(tallies[prior], kind))
                gain_N = prior_N - value_N if kind == "deletion" else value_N - prior_N
                metrics[f"{name}_{kind}_above_{prior}"] = figure(
                    gain_N.mean(), bootstrap_means(gain_N), 0.0, len(gain_N)
                )
    return metrics
