"""Attention rollout: what a token looks at through all layers, whatever is asked."""

from typing import Any, Literal

from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.explain.attention import mean_over_heads
from mmpretrain.explain.base import Target, enlarged, from_least
from mmpretrain.explain.relevance import relevance_map


@settings
class Rollout:
    """Abnar and Zuidema 2020, arXiv 2005.00928; the same map for every text that is asked about a picture."""

    kind: Literal["rollout"] = "rollout"

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        seen = mean_over_heads(model, target, image_CHW)
        return from_least(enlarged(relevance_map(model, target, seen, self.kind), image_CHW))
