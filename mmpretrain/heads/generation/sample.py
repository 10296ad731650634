"""Sampling: words are drawn as the model thinks them likely, from all of them or from the likeliest few."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.counter import hash_tensor, name_to_int, uniform
from mmpretrain.core.settings import settings
from mmpretrain.heads.generation.base import Limits, Reader, Task, Written
from mmpretrain.heads.generation.rules import NEVER
from mmpretrain.heads.generation.single import write_single

_DRAW = name_to_int("generation.sample")


@settings
class Sample(Limits):
    """Words drawn at random; each draw is a function of seed, position of the picture and place in the text."""

    kind: Literal["sample"] = "sample"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Log-probabilities are divided by it: below 1 likely words gain, above 1 unlikely ones."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Only so many of the likeliest words can come (Fan et al. 2018, arXiv 1805.04833); 0: any."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Only the likeliest words that together are so probable, at least one (nucleus, Holtzman et al. 2019, arXiv
    1904.09751), of those that top_k leaves."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draws."""

    def write(self, reader: Reader, task: Task) -> Written:
        return write_single(reader, task, self, self.choose)

    def choose(self, scores_RV: Tensor, positions_R: Tensor, place: int) -> Tensor:
        """The drawn ids."""
        scores_RV = keep_top_p(keep_top_k(scores_RV / self.temperature, self.top_k), self.top_p)
        return draw(scores_RV, uniform(hash_tensor(_DRAW, self.seed, positions_R, place)))


def keep_top_k(scores_RV: Tensor, count: int) -> Tensor:
    """All but the `count` highest scores of each row at minus infinity, the lower ids of equal ones first; 0: all."""
    if not 0 < count < scores_RV.shape[1]:
        return scores_RV
    dropped_RM = scores_RV.sort(dim=1, descending=True, stable=True).indices[:, count:]
    return scores_RV.scatter(1, dropped_RM, NEVER)


def keep_top_p(scores_RV: Tensor, share: float) -> Tensor:
    """The fewest of each row whose probabilities reach `share`, the others at minus infinity; 1: all.

    Equal scores: lower ids first.
    """
    if share == 1:
        return scores_RV
    found = scores_RV.double().softmax(dim=1).sort(dim=1, descending=True, stable=True)
    before_RV = found.values.cumsum(dim=1) - found.values
    dropped_RV = torch.zeros_like(scores_RV, dtype=torch.bool).scatter(1, found.indices, before_RV >= share)
    return scores_RV.masked_fill(dropped_RV, NEVER)


def draw(scores_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """An id of each row by its probability, from a number in [0, 1); what stands at minus infinity never comes."""
    sums_RV = scores_RV.double().softmax(dim=1).cumsum(dim=1)
    # above 0 and at most the whole: the first sum that reaches it belongs to a word of some probability
    reached_R1 = sums_RV[:, -1:] * (1 - uniform_R[:, None])
    return torch.searchsorted(sums_RV, reached_R1)[:, 0]
