"""How much a unit matters: by the loss that its absence would cost to first order, or by the size of its weights."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.batch import Batch
from mmpretrain.core.counter import seed_of, seed_torch
from mmpretrain.core.errors import ConfigError
from mmpretrain.engines.base import product_type
from mmpretrain.objectives.base import Objective
from mmpretrain.objectives.combine import TrainingModule, needs_of

Score = Literal["taylor", "magnitude"]
Fold = Callable[[Mapping[str, Tensor]], Tensor]
"""Something of each weight's shape, by name -> sums over units."""


def importance(module: TrainingModule, folds: Mapping[str, Fold], score: Score, batches: Sequence[Batch]) -> Any:
    """A vector of each fold, as long as it has units.

    taylor: |sum of weight x gradient| over the weights that read a unit, which is the gradient of a gate on it (Michel
    et al. 2019, arXiv 1905.10650; Molchanov et al. 2019, arXiv 1906.10771), the mean over batches. magnitude: the mean
    size of the same weights (Li et al. 2017, arXiv 1608.08710).

    Raises:
        ConfigError: the gradient of what the run learned cannot be taken, or is not finite.
    """
    weights = dict(module.named_parameters(remove_duplicate=False))
    if score == "magnitude":
        sizes = {name: weight.detach().abs() for name, weight in weights.items()}
        return {name: fold(sizes) for name, fold in folds.items()}
    found = {name: torch.zeros(()) for name in folds}
    taught = with_own_objectives(module)
    for batch in batches:
        gradients_of(taught, batch)
        products = Products(weights)
        found = {name: found[name] + fold(products).abs() / len(batches) for name, fold in folds.items()}
    module.zero_grad()
    if not all(bool(values.isfinite().all()) for values in found.values()):
        raise ConfigError("steps: score: taylor meets gradients that are not finite; use score: magnitude")
    return found


class Products(dict[str, Tensor]):
    """Weight x gradient by name, of those that are asked for."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self._weights = weights

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def __missing__(self, name: str) -> Tensor:
        weight = self._weights[name]
        # a part that no objective asks for has no gradient, and is worth nothing
        self[name] = torch.zeros_like(weight) if weight.grad is None else weight.detach() * weight.grad
        return self[name]


def with_own_objectives(module: TrainingModule) -> TrainingModule:
    """The same weights without the objectives that learn from a teacher, who may be gone.

    Raises:
        ConfigError: there is no other objective.
    """
    kept = [n for n, each in enumerate(module.settings) if not learns_from_a_teacher(each)]
    if not kept:
        raise ConfigError(
            "steps: score: taylor asks the run's own objectives, and it has a teacher alone; use magnitude"
        )
    taught = copy.copy(module)
    taught._modules = dict(module._modules)
    taught.objectives = nn.ModuleList(module.objectives[n] for n in kept)
    taught.settings = [module.settings[n] for n in kept]
    taught.needs = needs_of(taught.settings)
    taught.begin(max(step for each in taught.settings for step, _ in each.stages()))
    return taught


def learns_from_a_teacher(objective: Objective) -> bool:
    return "teacher" in objective.needs or objective.kind == "text_distillation"  # type: ignore[attr-defined]


def gradients_of(module: TrainingModule, batch: Batch) -> None:
    """Leave the gradient of the run's objectives on one batch in its parameters; statistics of norms stay."""
    module.train().requires_grad_(True)
    for each in module.modules():
        if isinstance(each, _BatchNorm):
            each.eval()
    module.zero_grad()
    seed_torch(seed_of(0, int(batch.positions_B[0])))
    kind = product_type("auto", torch.device("cpu"))
    with torch.enable_grad(), torch.autocast("cpu", kind, enabled=kind != torch.float32):
        module("live", batch, module.count(batch)).total.backward()
    module.eval()
