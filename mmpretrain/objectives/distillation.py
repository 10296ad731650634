"""Distillation: a student finds in the global batch what its teacher finds."""

import itertools
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmpretrain.core.batch import Features
from mmpretrain.core.distributed import gather
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import read_yaml, settings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.log_sums import LogSums, Softmax
from mmpretrain.objectives.pairs import PairLearner, PairObjective, chosen
from mmpretrain.objectives.tiles import SIDE, Gradients, Product, products
from mmpretrain.towers.open_clip_model import NAME, config_of, is_open_clip


@settings
class Distillation(PairObjective):
    """The teacher's softmax over all pairs of the batch, both ways, as a target (open_clip's distillation, and the
    affinity mimicking of TinyCLIP, Wu et al. 2023, arXiv 2309.12314).

    The teacher is another run or a model of open_clip, of any resolution and tokenizer. It looks at each sample of the
    training split once, as in evaluation; its vectors are kept on disk and travel with the batches.
    """

    kind: Literal["distillation"] = "distillation"
    teacher: str
    """A run folder, whose best or newest checkpoint teaches; local-dir:FOLDER, a model in the layout of open_clip's
    hub; or open_clip:ARCHITECTURE with weights below, which takes CLIP's normalisation."""
    weights: str | None = None
    """File of open_clip:ARCHITECTURE: .safetensors, or tensors in .pt, .pth, .bin; package:NAME/FILE of an installed
    package."""
    cache: str = "runs/teachers"
    """Folder for the teacher's vectors: one file for each dataset, split and teacher."""
    teacher_scale: Annotated[float, Field(gt=0)] = 1 / 0.07
    """Inverse temperature of the teacher's softmax; what a run learned stands in its metrics as contrastive/scale, and
    most open_clip models have learned 100."""
    embeddings: Annotated[float, Field(ge=0)] = 0.0
    """Weight of 1 - cosine between the student's vectors, mapped linearly, and the teacher's own; 0: only similarities
    are learned, which a student of another width keeps more freely."""

    tile: Annotated[int, Field(gt=0)] = SIDE
    """Rows and columns of the matrix of all pairs that are in memory at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher.startswith(NAME) and self.weights is None:
            raise ValueError(f"weights: {self.teacher} alone has random ones; name a file")
        if self.weights is not None and not self.teacher.startswith(NAME):
            raise ValueError(f"weights: {self.teacher} has its own; leave them out, or use {NAME}ARCHITECTURE")

    @property
    def needs(self) -> Set[str]:
        return frozenset({"features", "teacher"})

    def build(self, around: Surroundings) -> "DistillationLearner":
        return DistillationLearner(self, around)


def width_of(teacher: str) -> int:
    """Channels of a teacher's vectors.

    Raises:
        ConfigError: there is no such teacher.
    """
    if is_open_clip(teacher):
        return int(config_of(teacher, "objectives: distillation.teacher")["embed_dim"])
    tree = read_yaml(Path(teacher) / "config.yaml")
    return int(tree["towers"]["embedding"])


class DistillationLearner(PairLearner):
    """Cross-entropy between the teacher's softmax over the batch and the student's, the mean over rows and directions;
    and where it is asked for, the mean of 1 - cosine between mapped and teacher's vectors.
    """

    def __init__(self, settings: Distillation, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._teacher_scale = settings.teacher_scale
        self._embeddings = settings.embeddings
        self._tile = settings.tile
        self.maps = nn.ModuleList()
        if settings.embeddings:
            student, teacher = around.model.embedding, width_of(settings.teacher)
            self.maps = nn.ModuleList(nn.Linear(student, teacher) for _ in range(2))

    def forward(self, features: Features, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        mine, everybodys, own = chosen(self, features)
        student, teacher = (
            Vectors(at_least_fp32(image_BE[mine]), at_least_fp32(gather(text_BE)[everybodys]))
            for image_BE, text_BE in (features.vectors[:2], features.teacher)
        )
        scale = self.scale().to(student.image_RE.dtype)
        count = count.clamp(min=1)
        share = imitation_loss(student, teacher, scale, self._teacher_scale, own, self._tile) / 2 / count
        for own_map, mine_BE, theirs_BT in zip(self.maps, features.vectors, features.teacher, strict=False):
            far_R = 1 - F.cosine_similarity(
                at_least_fp32(own_map(mine_BE[mine])), at_least_fp32(theirs_BT[mine]), dim=1
            )
            share = share + self._embeddings * far_R.sum() / 2 / count
        learned = scale.detach().sum() * len(student.image_RE) / count
        return share, {"loss": share.detach(), "scale": learned}


class Vectors(NamedTuple):
    """Pictures of this rank and texts of all ranks, in fp32 or fp64; the teacher's E is another one."""

    image_RE: Tensor
    text_CE: Tensor


def imitation_loss(
    student: Vectors, teacher: Vectors, scale: Tensor, teacher_scale: float, own: slice, side: int = SIDE
) -> Tensor:
    """This rank's part of the sum, over all rows and columns, of their cross-entropies against the teacher's.

    Its memory is a few tiles and the gradients of its arguments. The parts of ranks and their gradients add up as those
    of `contrastive.softmax_loss`, and on the same grounds.

    Args:
        scale: the student's, of one element.
        own: columns of this rank's rows.
        side: rows and columns of a tile.
    """
    loss: Tensor = _ImitationLoss.apply(*student, scale, teacher, teacher_scale, own, side)
    return loss


class _ImitationLoss(torch.autograd.Function):
    """With S = scale * image_RE @ text_CE.T, the teacher's T likewise and P = softmax(T), tile by tile:

        row_i = log sum_j exp S_ij - sum_j P_ij S_ij, and columns likewise with P over the rows
        d loss / d S_ij = exp(S_ij - log sum_j exp S_ij) - exp(T_ij - log sum_j exp T_ij) + the same over the rows

    Each tile of both is computed once in forward, for rows and columns at a time, and once again in backward.
    """

    @staticmethod
    def forward(
        context: Any,
        image_RE: Tensor,
        text_CE: Tensor,
        scale: Tensor,
        teacher: Vectors,
        teacher_scale: float,
        own: slice,
        side: int,
    ) -> Tensor:
        student_sums, teacher_sums = ((LogSums(image_RE), LogSums(text_CE)) for _ in range(2))
        for ours, theirs in _both(image_RE, text_CE, scale, teacher, teacher_scale, side):
            for place, dim, sums, guide in zip(
                (ours.rows, ours.columns), (1, 0), student_sums, teacher_sums, strict=True
            ):
                sums.add(place, ours.logits_RC, dim, ours.spare_RC)
                guide.add(place, theirs.logits_RC, dim, theirs.spare_RC, ours.logits_RC)
        for columns in (student_sums[1], teacher_sums[1]):
            columns.complete()
        softmaxes = [each.softmax() for each in (*student_sums, *teacher_sums)]
        context.save_for_backward(image_RE, text_CE, scale, *teacher, *itertools.chain(*softmaxes))
        context.teacher_scale, context.side = teacher_scale, side
        pairs = zip(student_sums, teacher_sums, strict=True)
        of_rows_R, of_columns_C = (sums.log_sum() - guide.mean() for sums, guide in pairs)
        return of_rows_R.sum() + of_columns_C[own].sum()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None, None]:
        image_RE, text_CE, scale, *saved = context.saved_tensors
        teacher, parts = Vectors(*saved[:2]), saved[2:]
        row, column, guide_row, guide_column = (Softmax(*pair) for pair in zip(parts[::2], parts[1::2], strict=True))
        gradients = Gradients(image_RE, text_CE, scale)
        for ours, theirs in _both(image_RE, text_CE, scale, teacher, context.teacher_scale, context.side):
            slope_RC = row.of(ours.logits_RC, ours.rows, 1, ours.spare_RC)
            slope_RC.add_(column.of(ours.logits_RC, ours.columns, 0, ours.logits_RC))
            slope_RC.sub_(guide_row.of(theirs.logits_RC, ours.rows, 1, theirs.spare_RC))
            slope_RC.sub_(guide_column.of(theirs.logits_RC, ours.columns, 0, theirs.logits_RC))
            gradients.add(ours, slope_RC)
        return *gradients.finish(gradient), None, None, None, None


def _both(
    image_RE: Tensor, text_CE: Tensor, scale: Tensor, teacher: Vectors, teacher_scale: float, side: int
) -> Iterator[tuple[Product, Product]]:
    """The student's tiles, each with the teacher's of the same place."""
    return zip(products(image_RE, text_CE, scale, side), products(*teacher, teacher_scale, side), strict=True)
