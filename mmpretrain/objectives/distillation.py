"""Distillation: a student finds in the global batch what its teacher finds."""

from collections.abc import Set
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Features
from mmpretrain.core.distributed import gather, own_rows
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import read_yaml, settings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.pairs import FAR_BELOW, PairLearner, PairObjective


@settings
class Distillation(PairObjective):
    """The teacher's softmax over all pairs of the batch, both ways, as a target (open_clip's distillation, and the
    affinity mimicking of TinyCLIP, Wu et al. 2023, arXiv 2309.12314).

    The teacher is another run, of any resolution and tokenizer. It looks at each sample of the training split once, as
    in evaluation; its vectors are kept on disk and travel with the batches.
    """

    kind: Literal["distillation"] = "distillation"
    teacher: str
    """Run folder; the newest checkpoint teaches."""
    cache: str = "runs/teachers"
    """Folder for the teacher's vectors: one file for each dataset, split and teacher."""
    teacher_scale: Annotated[float, Field(gt=0)] = 1 / 0.07
    """Inverse temperature of the teacher's softmax; what it learned stands in its metrics as contrastive/scale."""
    embeddings: Annotated[float, Field(ge=0)] = 0.0
    """Weight of 1 - cosine between the student's vectors, mapped linearly, and the teacher's own; 0: only similarities
    are learned, which a student of another width keeps more freely."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"features", "teacher"})

    def build(self, around: Surroundings) -> "DistillationLearner":
        return DistillationLearner(self, around)


def width_of(teacher: str) -> int:
    """Channels of a run's vectors.

    Raises:
        ConfigError: there is no such run.
    """
    tree = read_yaml(Path(teacher) / "config.yaml")
    return int(tree["towers"]["embedding"])


class DistillationLearner(PairLearner):
    """Cross-entropy between the teacher's softmax over the batch and the student's, the mean over rows and directions;
    and where it is asked for, the mean of 1 - cosine between mapped and teacher's vectors.

    Dense: its memory grows with the square of the batch.
    """

    def __init__(self, settings: Distillation, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._teacher_scale = settings.teacher_scale
        self._embeddings = settings.embeddings
        self.maps = nn.ModuleList()
        if settings.embeddings:
            student, teacher = around.model.embedding, width_of(settings.teacher)
            self.maps = nn.ModuleList(nn.Linear(student, teacher) for _ in range(2))

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        own = own_rows(features.image_BE)
        used_B = self.uses(gather(features.source_B))
        student = [(at_least_fp32(mine_RE), gather(at_least_fp32(mine_RE))) for mine_RE in features.vectors[:2]]
        teacher = [(at_least_fp32(mine_RT), gather(at_least_fp32(mine_RT))) for mine_RT in features.teacher]
        scale = self.scale().to(student[0][0].dtype)
        count = count.clamp(min=1)
        share = student[0][0].new_zeros(())
        with torch.autocast(student[0][0].device.type, enabled=False):
            for asked, answers in ((0, 1), (1, 0)):
                target_RB = self._teacher_scale * teacher[asked][0] @ teacher[answers][1].T
                target_RB = target_RB.masked_fill(~used_B, FAR_BELOW).softmax(dim=1) * used_B[own, None]
                logits_RB = scale * student[asked][0] @ student[answers][1].T
                logits_RB = logits_RB.masked_fill(~used_B, FAR_BELOW)
                share = share + F.cross_entropy(logits_RB, target_RB, reduction="sum") / 2 / count
        for own_map, mine_RE, theirs_RT in zip(self.maps, features.vectors, features.teacher, strict=False):
            far_R = 1 - F.cosine_similarity(at_least_fp32(own_map(mine_RE)), at_least_fp32(theirs_RT), dim=1)
            share = share + self._embeddings * (far_R * used_B[own]).sum() / 2 / count
        learned = scale.detach().sum() * used_B[own].sum() / count
        return share, {"loss": share.detach(), "scale": learned}
