"""Losses with the mistakes that systems ship with: conformance has to find them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import world
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.contrastive import Contrastive, ContrastiveObjective


@settings
class OverRanks(Contrastive):
    """CLIP's loss, divided by the number of ranks once too often."""

    def build(self, around: Surroundings) -> "OverRanksLearner":
        return OverRanksLearner(self, around)


class OverRanksLearner(ContrastiveObjective):
    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        share, metrics = super().forward(features, count)
        return share / world().size, metrics


@settings
class LocalNegatives(Objective):
    """CLIP's loss, whose negatives are those of this rank alone."""

    kind: str = "local"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"features"})

    def build(self, around: Surroundings) -> "LocalNegativesLearner":
        return LocalNegativesLearner(self, around)


class LocalNegativesLearner(Learner):
    is_global = True

    def count(self, batch: Batch) -> Tensor:
        return self.used(batch).sum()

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits_BB = 14 * features.image_BE @ features.text_BE.T
        share = F.cross_entropy(logits_BB, torch.arange(len(logits_BB)), reduction="sum") / count
        return share, {"loss": share.detach()}
