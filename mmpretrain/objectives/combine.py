"""The one module that an engine wraps: the model and its objectives, walked through in phases."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Features, Shares
from mmpretrain.objectives.contrastive import Contrastive

Objective = Contrastive
"""The union of all objectives; another one is another file and another name here."""


class TrainingModule(nn.Module):
    """Model and objectives under one forward, so that every engine synchronises one thing.

    Phases:
        live: one micro-batch is the whole step; towers and objectives with their graph.
        encode: features of one micro-batch, no graph.
        loss: the objectives over all micro-batches' features; returns the gradients to replay.
        replay: one micro-batch with its graph; its backward gives the full batch's gradient (GradCache,
            Gao et al. 2021, arXiv 2101.06983).
        embed: features for evaluation.
    """

    def __init__(self, model: nn.Module, objectives: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleList(objectives)

    def count(self, batch: Batch) -> Tensor:
        """What each objective divides by, summed over this batch: pure, without parameters."""
        return torch.tensor([float(objective.count(batch)) for objective in self.objectives])  # type: ignore[operator]

    def forward(self, phase: str, *arguments: Any) -> Any:
        return getattr(self, f"_{phase}")(*arguments)

    def _live(self, batch: Batch, counts: Tensor) -> Shares:
        return self._shares(self.model(batch), counts)

    @torch.no_grad()
    def _encode(self, batch: Batch) -> Features:
        return self.model(batch)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _embed(self, batch: Batch) -> Features:
        return self.model(batch)  # type: ignore[no-any-return]

    def _loss(self, parts: Sequence[Features], counts: Tensor) -> tuple[Shares, "CachedGradients"]:
        joined = Features.join(parts)
        image_BE, text_BE = joined.image_BE.requires_grad_(), joined.text_BE.requires_grad_()
        parameters = list(self.objectives.parameters())
        shares = self._shares(joined, counts)
        image_gradient, text_gradient, *own = torch.autograd.grad(shares.total, [image_BE, text_BE, *parameters])
        rows = [len(part.image_BE) for part in parts]
        pieces = list(zip(image_gradient.split(rows), text_gradient.split(rows), strict=True))
        return Shares(total=shares.total.detach(), metrics=shares.metrics), CachedGradients(pieces, own)

    def _replay(self, batch: Batch, cached: "CachedGradients", micro: int) -> Tensor:
        """A scalar whose gradient is the full batch's: sum(features * cached), parameters included."""
        features: Features = self.model(batch)
        image_gradient, text_gradient = cached.pieces[micro]
        total = (features.image_BE * image_gradient).sum() + (features.text_BE * text_gradient).sum()
        # every parameter takes part in each pass, or DDP's buckets differ between ranks
        for parameter, gradient in zip(self.objectives.parameters(), cached.parameters, strict=True):
            total = total + (parameter * (gradient if micro == 0 else 0 * gradient)).sum()
        return total

    def _shares(self, features: Features, counts: Tensor) -> Shares:
        total, metrics = features.image_BE.new_zeros(()), {}
        for objective, count in zip(self.objectives, counts, strict=True):
            share, numbers = objective(features, count)
            total = total + objective.weight * share
            metrics |= {f"{objective.name}/{name}": value for name, value in numbers.items()}
        return Shares(total=total, metrics=metrics)


class CachedGradients:
    """Gradients of the full-batch loss with respect to each micro-batch's features and to the objectives."""

    def __init__(self, pieces: list[tuple[Tensor, Tensor]], parameters: list[Tensor]) -> None:
        self.pieces = pieces
        self.parameters = parameters
