"""Image-text matching: does this text belong to this picture? Asked about pairs, and about near misses of both."""

from collections.abc import Set
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.counter import hash_tensor, name_to_int, uniform
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.questions import judge

_NOISE_OF_TEXTS, _NOISE_OF_IMAGES = name_to_int("wrong text"), name_to_int("wrong picture")


@settings
class Matching(Objective):
    """Right or wrong pair, with hard negatives (ALBEF, Li et al. 2021, arXiv 2107.07651); needs towers.fusion."""

    kind: Literal["matching"] = "matching"
    negatives_within: Annotated[int, Field(ge=2)] = 64
    """Consecutive positions among which a wrong partner is drawn: the batch of a rank and micro-batch divides by it,
    so that the draw does not depend on how the global batch is cut."""
    scale: Annotated[float, Field(ge=0)] = 1 / 0.07
    """Inverse temperature of the draw: the larger, the more similar the wrong partner; 0 draws evenly, and asks no
    contrastive objective what is similar."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"fusion", "features"} if self.scale else {"fusion"})

    def build(self, around: Surroundings) -> "MatchingLearner":
        return MatchingLearner(self, around)


class Negatives(NamedTuple):
    """For each row of a batch a row that it is no pair with."""

    row_B: Tensor
    """int64; the row itself where there is none."""
    exists_B: Tensor
    """bool"""


class MatchingLearner(Learner):
    """Cross-entropy of "belongs" against "does not" over each pair, each picture with a wrong text and each text with a
    wrong picture; the mean over all of them in the global batch.

    A wrong partner is drawn in proportion to exp(scale * cosine) among rows of another picture and another text in the
    same group of `negatives_within` consecutive positions: the Gumbel-max of detached similarities, with noise that is
    a function of both positions. So the draw is a pure function of the global batch.
    """

    def __init__(self, settings: Matching, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._within = settings.negatives_within
        self._scale = settings.scale
        self._seed = around.seed
        self.head = nn.Linear(around.model.text.width, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def count(self, batch: Batch) -> Tensor:
        used_B = self.used(batch)
        return used_B.sum() + 2 * (self._allowed(batch).any(dim=1) & used_B).sum()

    def answers(self, batch: Batch) -> Tensor:
        right = int(self.used(batch).sum())
        wrong = int(self.count(batch)) - right
        return torch.tensor([1] * right + [0] * wrong, device=batch.positions_B.device)

    def _allowed(self, batch: Batch) -> Tensor:
        """Whether the second row is no pair of the first, and near enough; bool, B x B."""
        groups = (batch.positions_B // self._within, batch.image_group_B, batch.text_group_B)
        near_BB, same_image_BB, same_text_BB = (group[:, None] == group for group in groups)
        used_B = self.used(batch)
        return near_BB & ~same_image_BB & ~same_text_BB & used_B[:, None] & used_B

    def draw(self, similarity_BB: Tensor, batch: Batch, purpose: int) -> Negatives:
        """For the row of each query (first axis) the row of its wrong answer (second axis)."""
        allowed_BB = self._allowed(batch)
        noise_BB = uniform(hash_tensor(purpose, self._seed, batch.positions_B[:, None], batch.positions_B))
        gumbel_BB = -torch.log(-torch.log(noise_BB.clamp(min=2.0**-54)))
        scores_BB = self._scale * similarity_BB + gumbel_BB
        exists_B = allowed_BB.any(dim=1)
        best_B = scores_BB.masked_fill(~allowed_BB, -torch.inf).argmax(dim=1)
        return Negatives(torch.where(exists_B, best_B, torch.arange(len(best_B), device=best_B.device)), exists_B)

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        similarity_BB = similarity(encoded)
        texts = self.draw(similarity_BB, batch, _NOISE_OF_TEXTS)
        images = self.draw(similarity_BB.T, batch, _NOISE_OF_IMAGES)
        own_B = torch.arange(len(batch), device=texts.row_B.device)
        x_PLD = fuse_rows(
            model, batch, encoded, torch.cat([own_B, texts.row_B, own_B]), torch.cat([own_B, own_B, images.row_B])
        )
        logits_P2 = self.head(x_PLD[:, 0])
        answers_P = torch.cat([torch.ones_like(own_B), torch.zeros_like(own_B), torch.zeros_like(own_B)])
        used_B = self.used(batch)
        asked_P = torch.cat([used_B, used_B & texts.exists_B, used_B & images.exists_B])
        return judge(logits_P2, answers_P, asked_P, count)


def similarity(encoded: Encoded) -> Tensor:
    """Cosines of pictures (first axis) and texts, fp64 and without gradient; 0 where there are no features."""
    image_BE, text_BE = (vectors_BE.detach().double() for vectors_BE in encoded.features.vectors[:2])
    return image_BE @ text_BE.T


def fuse_rows(model: Any, batch: Batch, encoded: Encoded, text_P: Tensor, image_P: Tensor) -> Tensor:
    """Fusion of pairs of rows: the texts `text_P` with the pictures `image_P`; P x L x D."""
    text_BLD = encoded.text_BLD[text_P] if model.fusion.start == "text" else None
    x_PLD: Tensor = model.fuse(batch.tokens_BL[text_P], batch.mask_BL[text_P], encoded.image_BND[image_P], text_BLD)
    return x_PLD
