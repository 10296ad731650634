"""The one module that an engine wraps: the model and its objectives, walked through in phases."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features, Shares
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.sigmoid import Sigmoid

Objective = Contrastive | Sigmoid
"""The union of all objectives; another one is another file and another name here."""


class TrainingModule(nn.Module):
    """Model and objectives under one forward, so that every engine synchronises one thing.

    Phases:
        live: one micro-batch is the whole step; towers and objectives with their graph.
        embed: features without a graph, for evaluation and as the first half of what follows.
        loss: the objectives over all micro-batches' features; returns the gradients to replay.
        replay: one micro-batch with its graph; its backward gives the full batch's gradient (GradCache,
            Gao et al. 2021, arXiv 2101.06983).
    """

    def __init__(self, model: nn.Module, objectives: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model: Any = model
        self.objectives = nn.ModuleList(objectives)

    def count(self, batch: Batch) -> Tensor:
        """What each objective divides by, summed over this batch: pure, without parameters."""
        return torch.tensor([float(objective.count(batch)) for objective in self.objectives])  # type: ignore[operator]

    def forward(self, phase: str, *arguments: Any) -> Any:
        return getattr(self, f"_{phase}")(*arguments)

    def _live(self, batch: Batch, counts: Tensor) -> Shares:
        return self._shares(self.model(batch), counts)

    @torch.no_grad()
    def _embed(self, batch: Batch) -> Features:
        features: Features = self.model(batch)
        return features

    def _loss(self, parts: Sequence[Features], counts: Tensor) -> tuple[Shares, "CachedGradients"]:
        joined = Features.join(parts)
        image_BE, text_BE = joined.image_BE.requires_grad_(), joined.text_BE.requires_grad_()
        shares = self._shares(joined, counts)
        own = self._own_parameters()
        image_gradient, text_gradient, *rest = torch.autograd.grad(shares.total, [image_BE, text_BE, *own])
        rows = [len(part.image_BE) for part in parts]
        cached = CachedGradients(image_gradient.split(rows), text_gradient.split(rows), tuple(rest))
        return Shares(total=shares.total.detach(), metrics=shares.metrics), cached

    def _replay(self, batch: Batch, cached: "CachedGradients", micro: int) -> Tensor:
        """A scalar whose gradient is the full batch's: sum(features * cached), parameters included."""
        features: Features = self.model(batch)
        total = (features.image_BE * cached.images[micro]).sum() + (features.text_BE * cached.texts[micro]).sum()
        # every parameter takes part in each pass, or DDP's buckets differ between ranks
        for parameter, gradient in zip(self._own_parameters(), cached.parameters, strict=True):
            total = total + (parameter * (gradient if micro == 0 else 0 * gradient)).sum()
        return total

    def _own_parameters(self) -> list[nn.Parameter]:
        # one by one by name: that is the access that stage 3 of DeepSpeed notices and gathers a parameter for
        trainable = [name for name, parameter in self.objectives.named_parameters() if parameter.requires_grad]
        return [self.objectives.get_parameter(name) for name in trainable]

    def _shares(self, features: Features, counts: Tensor) -> Shares:
        total = features.image_BE.new_zeros(())
        metrics: dict[str, Tensor] = {}
        for objective, count in zip(self.objectives, counts, strict=True):
            share, numbers = objective(features, count)
            total = total + objective.weight * share
            metrics |= {f"{objective.name}/{name}": value for name, value in numbers.items()}
        return Shares(total=total, metrics=metrics)


class CachedGradients(NamedTuple):
    """Gradients of the full-batch loss: for each micro-batch's features, and for the objectives' parameters."""

    images: tuple[Tensor, ...]
    texts: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
