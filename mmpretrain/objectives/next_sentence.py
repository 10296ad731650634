"""Next-sentence prediction: does this passage follow that one in its document?"""

from collections.abc import Set
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.counter import hash_tensor, name_to_int, uniform
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings

_COIN, _NOISE = name_to_int("next or not"), name_to_int("wrong passage")


@settings
class NextSentence(Objective):
    """Right or wrong continuation (BERT, Devlin et al. 2019, arXiv 1810.04805); the card names the next passage."""

    kind: Literal["next_sentence"] = "next_sentence"
    negatives_within: Annotated[int, Field(ge=2)] = 64
    """Consecutive positions among which a wrong continuation is drawn: the batch of a rank and micro-batch divides by
    it, so that the draw does not depend on how the global batch is cut."""
    from_document: bool = True
    """Draw it from the same document (the card's text_group), where style and names give nothing away; else from
    another one."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"pair"})

    def build(self, around: Surroundings) -> "NextSentenceLearner":
        return NextSentenceLearner(self, around)


class Pairs(NamedTuple):
    """Two passages in one row, as the text tower takes them."""

    tokens_BL: Tensor
    mask_BL: Tensor
    positions_BL: Tensor
    """Places counted over both passages, padding between them left out."""
    segments_BL: Tensor
    """0 in the first passage, 1 in the second."""


class NextSentenceLearner(Learner):
    """Cross-entropy of "follows" against "does not", the mean over the global batch.

    Half of the rows, by a coin keyed by position, get the continuation of another row of their group of
    `negatives_within` consecutive positions; where there is none, the row keeps its own.
    """

    def __init__(self, settings: NextSentence, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._within = settings.negatives_within
        self._from_document = settings.from_document
        self._seed = around.seed
        width = around.model.text.width
        self.pool = nn.Linear(width, width)
        self.head = nn.Linear(width, 2)
        for layer in (self.pool, self.head):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def count(self, batch: Batch) -> Tensor:
        return self.used(batch).sum()

    def answers(self, batch: Batch) -> Tensor:
        follows_B = self.continuation(batch) == torch.arange(len(batch), device=batch.positions_B.device)
        return follows_B[self.used(batch)].long()

    def continuation(self, batch: Batch) -> Tensor:
        """The row whose continuation each row gets: its own, or a wrong one; int64."""
        used_B = self.used(batch)
        own_B = torch.arange(len(batch), device=used_B.device)
        same_BB = batch.text_group_B[:, None] == batch.text_group_B
        group_B = batch.positions_B // self._within
        allowed_BB = (group_B[:, None] == group_B) & (own_B[:, None] != own_B) & used_B[:, None] & used_B
        allowed_BB &= same_BB if self._from_document else ~same_BB
        noise_BB = uniform(hash_tensor(_NOISE, self._seed, batch.positions_B[:, None], batch.positions_B))
        wrong_B = noise_BB.masked_fill(~allowed_BB, -1).argmax(dim=1)
        coin_B = uniform(hash_tensor(_COIN, self._seed, batch.positions_B)) < 0.5
        return torch.where(coin_B & allowed_BB.any(dim=1), wrong_B, own_B)

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        row_B = self.continuation(batch)
        pairs = join_passages(batch, row_B)
        pooled_BD = model.text(pairs.tokens_BL, pairs.mask_BL, pairs.positions_BL, pairs.segments_BL, causal=False)[0][
            :, 0
        ]
        logits_B2 = self.head(torch.tanh(self.pool(pooled_BD)))
        answers_B = (row_B == torch.arange(len(batch), device=row_B.device)).long()
        used_B = self.used(batch)
        with torch.autocast(logits_B2.device.type, enabled=False):
            losses_B = F.cross_entropy(at_least_fp32(logits_B2), answers_B, reduction="none")
        count = count.clamp(min=1)
        share = (losses_B * used_B).sum() / count
        right = ((logits_B2.detach().argmax(dim=1) == answers_B) & used_B).sum()
        return share, {"loss": share.detach(), "accuracy": right.float() / count}


def join_passages(batch: Batch, row_B: Tensor) -> Pairs:
    """Each row's text, and behind it the continuation of the row that is named; one start token for both."""
    assert batch.next_tokens_BL is not None
    assert batch.next_mask_BL is not None
    mask_BL = torch.cat([batch.mask_BL, batch.next_mask_BL[row_B, 1:]], dim=1)
    second_L = torch.arange(mask_BL.shape[1], device=mask_BL.device) >= batch.mask_BL.shape[1]
    return Pairs(
        tokens_BL=torch.cat([batch.tokens_BL, batch.next_tokens_BL[row_B, 1:]], dim=1),
        mask_BL=mask_BL,
        positions_BL=(mask_BL.cumsum(dim=1) - 1).clamp(min=0),
        segments_BL=second_L.long().expand_as(mask_BL),
    )
