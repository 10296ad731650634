"""Attention weighed by its gradient: what of what a token looks at speaks for the target."""

from typing import Any, Literal

from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.explain.attention import weighed_by_gradient
from mmpretrain.explain.base import Target, enlarged, from_least
from mmpretrain.explain.relevance import relevance_map


@settings
class GradientAttention:
    """Chefer, Gur and Wolf 2021, arXiv 2103.15679."""

    kind: Literal["gradient_attention"] = "gradient_attention"

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        seen = weighed_by_gradient(model, target, image_CHW)
        return from_least(enlarged(relevance_map(model, target, seen, self.kind), image_CHW))
