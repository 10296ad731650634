"""The one module that an engine wraps: the model and its objectives, walked through in phases."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded, Features, Shares
from mmpretrain.objectives.base import Objective, Surroundings
from mmpretrain.objectives.captioning import Captioning, CausalLanguage
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.distillation import Distillation
from mmpretrain.objectives.masked_image import MaskedImage
from mmpretrain.objectives.masked_language import ImageMaskedLanguage, MaskedLanguage
from mmpretrain.objectives.masking import Filled
from mmpretrain.objectives.matching import Matching
from mmpretrain.objectives.next_sentence import NextSentence
from mmpretrain.objectives.sigmoid import Sigmoid
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.objectives.views import Views

# the families of objectives; another one is another file and another name here
Pairs = Contrastive | Sigmoid | Distillation
Texts = MaskedLanguage | NextSentence | CausalLanguage | TextDistillation
Images = MaskedImage | Views
Together = Matching | ImageMaskedLanguage | Captioning


class TrainingModule(nn.Module):
    """Model and objectives under one forward, so that every engine synchronises one thing.

    Phases:
        live: towers and objectives of one micro-batch with their graph. Where an objective needs the features of the
            global batch, the micro-batch has to be all of this rank's rows.
        embed: features without a graph, for evaluation and as the first half of what follows.
        loss: the global objectives over all micro-batches' features; returns the gradients to replay.
        replay: one micro-batch with its graph; its backward gives the full batch's gradient (GradCache,
            Gao et al. 2021, arXiv 2101.06983), and the other objectives' of this micro-batch.

    Args:
        settings: what to learn, in the order of counts and metrics.
        around: see `Surroundings`; None: all sources, seed 0.
    """

    def __init__(self, model: nn.Module, settings: Sequence[Objective], around: Surroundings | None = None) -> None:
        super().__init__()
        self.model: Any = model
        pairing = next((each for each in settings if isinstance(each, NextSentence)), None)
        around = replace(around or Surroundings(model=model), pairing=pairing)
        self.objectives = nn.ModuleList(each.build(around) for each in settings)  # type: ignore[attr-defined]
        for objective in self.objectives:
            if hasattr(objective, "meet"):
                objective.meet(self.objectives)  # type: ignore[operator]
        self.settings = settings
        self.needs = needs_of(settings)
        self.caches = any(objective.is_global for objective in self.objectives)
        self.begin(0)

    def begin(self, step: int) -> None:
        """Take the objectives' weights of a step."""
        self.weights = [settings.weight_at(step) for settings in self.settings]

    def count(self, batch: Batch) -> Tensor:
        """What each objective divides by, summed over this batch: pure, without parameters; fp32."""
        return torch.stack([torch.as_tensor(each.count(batch)).float() for each in self.objectives])  # type: ignore[operator]

    def forward(self, phase: str, *arguments: Any) -> Any:
        return getattr(self, f"_{phase}")(*arguments)

    def _encode(self, batch: Batch) -> Encoded:
        """What the towers say of a batch, and of pairs of passages where an objective hides words in them."""
        encoded: Encoded = self.model(batch, self.needs)
        for objective in self.objectives:
            if hasattr(objective, "read_pairs"):
                encoded = encoded._replace(pair_BLD=objective.read_pairs(self.model, batch))  # type: ignore[operator]
        return encoded

    def _live(self, batch: Batch, counts: Tensor) -> Shares:
        encoded = self._encode(batch)
        return self._global_shares(encoded.features, counts).plus(self._local_shares(batch, encoded, counts))

    @torch.no_grad()
    def _embed(self, batch: Batch) -> Features:
        features: Features = self.model(batch, self.needs & GLOBAL_NEEDS).features
        return features

    @torch.no_grad()
    def _measure(self, batch: Batch) -> dict[str, Tensor]:
        """Metrics of the objectives that are asked and not global, as sums over what they ask of this batch."""
        encoded = self._encode(batch)
        ones = torch.ones(len(self.objectives), device=batch.positions_B.device)
        return self._sum(ones, False, self.model, batch, encoded, asked=True).metrics

    @torch.no_grad()
    def _ask(self, head: Callable[..., Any], *arguments: Any) -> Any:
        """What a head, which stands above the objectives, finds out from the module."""
        return head(self, *arguments)

    @torch.no_grad()
    def _fill(self, batch: Batch) -> Filled:
        """What the first objective that hides words puts in their places."""
        objective: Any = next(each for each in self.objectives if hasattr(each, "guess"))
        encoded = self._encode(batch)
        filled: Filled = objective.guess(self.model, batch, encoded)
        return filled

    def _loss(self, parts: Sequence[Features], counts: Tensor) -> tuple[Shares, "CachedGradients"]:
        joined = Features.join(parts)
        joined = joined.with_vectors([vectors_BE.requires_grad_() for vectors_BE in joined.vectors])
        shares = self._global_shares(joined, counts)
        wanted = [*joined.vectors, *self._own_parameters()]
        # not every objective looks at every vector
        gradients = torch.autograd.grad(shares.total, wanted, allow_unused=True, materialize_grads=True)
        rows = [len(part.image_BE) for part in parts]
        count = len(joined.vectors)
        vectors = tuple(zip(*(gradient.split(rows) for gradient in gradients[:count]), strict=True))
        cached = CachedGradients(vectors, tuple(gradients[count:]))
        return Shares(total=shares.total.detach(), metrics=shares.metrics), cached

    def _replay(self, batch: Batch, cached: "CachedGradients", micro: int, counts: Tensor) -> tuple[Tensor, Shares]:
        """A scalar whose gradient is the full batch's, and the shares of what is learned from this micro-batch."""
        encoded = self._encode(batch)
        shares = self._local_shares(batch, encoded, counts)
        pairs = zip(encoded.features.vectors, cached.vectors[micro], strict=True)
        total = shares.total + sum((vectors_BE * gradient_BE).sum() for vectors_BE, gradient_BE in pairs)
        # every parameter takes part in each pass, or DDP's buckets differ between ranks
        for parameter, gradient in zip(self._own_parameters(), cached.parameters, strict=True):
            total = total + (parameter * (gradient if micro == 0 else 0 * gradient)).sum()
        return total, Shares(total=shares.total.detach(), metrics=shares.metrics)

    def _own_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters of the global objectives."""
        # one by one by name: that is the access that stage 3 of DeepSpeed notices and gathers a parameter for
        return [
            objective.get_parameter(name)
            for objective in self.objectives
            if objective.is_global
            for name, parameter in list(objective.named_parameters())
            if parameter.requires_grad
        ]

    def _global_shares(self, features: Features, counts: Tensor) -> Shares:
        return self._sum(counts, True, features)

    def _local_shares(self, batch: Batch, encoded: Encoded, counts: Tensor) -> Shares:
        return self._sum(counts, False, self.model, batch, encoded)

    def _sum(self, counts: Tensor, which: bool, *arguments: Any, asked: bool = False) -> Shares:
        """Args: which: the global objectives or the others; asked: without those that evaluation does not ask."""
        total = counts.new_zeros(())
        metrics: dict[str, Tensor] = {}
        for objective, weight, count in zip(self.objectives, self.weights, counts, strict=True):
            if objective.is_global == which and (objective.is_asked or not asked):
                share, numbers = objective(*arguments, count)
                total = total + weight * share
                metrics |= {f"{objective.name}/{name}": value for name, value in numbers.items()}
        return Shares(total=total, metrics=metrics)


GLOBAL_NEEDS: Set[str] = frozenset({"features", "views", "teacher"})


class CachedGradients(NamedTuple):
    """Gradients of the full-batch loss: for each micro-batch's features, and for the objectives' parameters."""

    vectors: tuple[tuple[Tensor, ...], ...]
    """By micro-batch, then as `Features.vectors`."""
    parameters: tuple[Tensor, ...]


def needs_of(settings: Sequence[Objective]) -> Set[str]:
    """All parts of the model that some objective needs."""
    return frozenset().union(*(each.needs for each in settings))
