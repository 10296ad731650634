"""Self-supervision of the image tower: two random views of a picture find each other among all others."""

from collections.abc import Set
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import gather, own_rows
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.pairs import FAR_BELOW

VIEWS = 2


@settings
class Views(Objective):
    """SimCLR (Chen et al. 2020, arXiv 2002.05709) beside the pairs, as SLIP has it (Mu et al. 2022, arXiv 2112.12750).

    The loader makes two more views of each picture by data.view_augmentation, and the image tower runs on both.
    """

    kind: Literal["views"] = "views"
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the softmax; fixed, as in SLIP."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"views"})

    def build(self, around: Surroundings) -> "ViewsLearner":
        return ViewsLearner(self, around)


class ViewsLearner(Learner):
    """Cross-entropy of each view's softmax over all other views of the global batch, against those of its own picture
    (pictures of equal bytes are one); the mean over views. Dense: its memory grows with the square of the batch.
    """

    is_global = True

    def __init__(self, settings: Views, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._scale = 1 / settings.temperature

    def count(self, batch: Batch) -> Tensor:
        return self.used(batch).sum()

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        own = own_rows(features.image_group_B)
        groups_B, used_B = gather(features.image_group_B), self.uses(gather(features.source_B))
        mine_RE = at_least_fp32(torch.cat(features.views))
        all_CE = torch.cat([gather(at_least_fp32(view_BE)) for view_BE in features.views])
        group_C, used_C = groups_B.repeat(VIEWS), used_B.repeat(VIEWS)
        group_R, used_R = groups_B[own].repeat(VIEWS), used_B[own].repeat(VIEWS)
        places_C = torch.arange(len(group_C), device=group_C.device).view(VIEWS, -1)
        itself_RC = places_C[:, own].reshape(-1, 1) == places_C.reshape(-1)
        allowed_RC = used_C & ~itself_RC
        with torch.autocast(mine_RE.device.type, enabled=False):
            logits_RC = (self._scale * mine_RE @ all_CE.T).masked_fill(~allowed_RC, FAR_BELOW)
            positive_RC = ((group_R[:, None] == group_C) & allowed_RC & used_R[:, None]).to(logits_RC.dtype)
            target_RC = positive_RC / positive_RC.sum(dim=1, keepdim=True).clamp(min=1)
            share = F.cross_entropy(logits_RC, target_RC, reduction="sum") / VIEWS / count.clamp(min=1)
        return share, {"loss": share.detach()}
