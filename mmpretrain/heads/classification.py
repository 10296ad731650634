"""The class of a picture, of a text, or of both."""

from collections.abc import Set
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.heads.base import Head, HeadLearner, hits, mean_share, require_classes
from mmpretrain.heads.reading import NEEDS, Reader, Reads, layers
from mmpretrain.objectives.base import Surroundings


@settings
class Classification(Head):
    """Classes of the card: one a row (its `label`), or any number (its `labels`)."""

    learns_from = ("label", "labels")
    kind: Literal["classification"] = "classification"
    reads: Reads = "image"
    """What it looks at."""
    hidden: Annotated[int, Field(gt=0)] | None = None
    """Channels of a layer in between; None: one linear layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last layer's inputs zeroed in training."""
    start: Literal["random", "zero_shot"] = "random"
    """zero_shot: with the card's class sentences as the run that this one starts from embeds them, so that it begins
    as zero-shot classification (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903); reads has to be features."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that goes to all classes alike; of one class a row alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start == "zero_shot" and (self.reads != "features" or self.hidden):
            raise ValueError("start: zero_shot is one layer over the space of pictures and texts; use reads: features")

    @property
    def needs(self) -> Set[str]:
        return NEEDS[self.reads]

    def build(self, around: Surroundings) -> "ClassificationLearner":
        return ClassificationLearner(self, around)


class ClassificationLearner(HeadLearner):
    """Cross-entropy of the right class, the mean over labelled rows of the global batch; with several classes a row,
    the mean binary cross-entropy over rows and classes.
    """

    def __init__(self, settings: Classification, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.classes = require_classes(around, settings)
        self.several = around.labels[settings.called].several
        self.reader = Reader(around.model, settings.reads)
        self._smoothing = settings.smoothing
        self.head = layers(self.reader.width, settings.hidden, len(self.classes), settings.dropout)

    @torch.no_grad()
    def begin_zero_shot(self, class_CE: Tensor, scale: float) -> None:
        """Take over class vectors of unit length, times the temperature's scale."""
        last = self.head[-1]
        last.weight.copy_(scale * class_CE)  # type: ignore[operator]
        last.bias.zero_()  # type: ignore[operator]

    def _asked(self, batch: Batch) -> Tensor:
        used_B = self.used(batch)
        return used_B if self.several else used_B & (batch.labels_B >= 0)

    def count(self, batch: Batch) -> Tensor:
        return self._asked(batch).sum()

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        (logits_BC,) = self.predict(model, batch, encoded)
        asked_B = self._asked(batch)
        if self.several:
            # binary cross-entropy computes in the type of its targets
            target_BC = multi_hot(batch, len(self.classes)).to(logits_BC)
            losses_B = F.binary_cross_entropy_with_logits(logits_BC, target_BC, reduction="none").mean(dim=1)
            right_B = ((logits_BC.detach() > 0) == target_BC.bool()).float().mean(dim=1)
        else:
            label_B = torch.where(asked_B, batch.labels_B, 0)
            losses_B = F.cross_entropy(logits_BC, label_B, reduction="none", label_smoothing=self._smoothing)
            right_B = hits(logits_BC, label_B).float()
        share = mean_share(losses_B, asked_B, count)
        return share, {"loss": share.detach(), "accuracy": mean_share(right_B, asked_B, count)}

    def predict(self, model: Any, batch: Batch, encoded: Encoded) -> tuple[Tensor, ...]:
        """logits_BC, at least fp32."""
        return (at_least_fp32(self.head(self.reader(model, batch, encoded))),)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """What it thinks of each class."""
        return logits_BC.sigmoid() if self.several else logits_BC.softmax(dim=1)


def multi_hot(batch: Batch, classes: int) -> Tensor:
    """1 where a row has a class; fp32, B x C."""
    target_BC = torch.zeros(len(batch), classes)
    for row, labels in enumerate(batch.label_sets):
        target_BC[row, list(labels)] = 1.0
    return target_BC.to(batch.labels_B.device)
