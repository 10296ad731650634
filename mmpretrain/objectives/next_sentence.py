"""Next-sentence prediction: does this passage follow that one in its document?"""

from collections.abc import Set
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.passages import continuation, join_passages, read_texts
from mmpretrain.objectives.questions import judge


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


class NextSentenceLearner(Learner):
    """Cross-entropy of "follows" against "does not", the mean over the global batch.

    Half of the rows, by a coin keyed by position, get the continuation of another row of their group of
    `negatives_within` consecutive positions; where there is none, the row keeps its own. Where masked_language hides
    words inside of pairs, it has read them already, and the rows are those with the words hidden.
    """

    def __init__(self, settings: NextSentence, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._pairing = settings
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
        used_B = self.used(batch)
        row_B = continuation(batch, used_B, self._pairing, self._seed)
        return follows(row_B)[used_B]

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        used_B = self.used(batch)
        row_B = continuation(batch, used_B, self._pairing, self._seed)
        x_BLD = read_texts(model, join_passages(batch, row_B)) if encoded.pair_BLD is None else encoded.pair_BLD
        logits_B2 = self.head(torch.tanh(self.pool(x_BLD[:, 0])))
        return judge(logits_B2, follows(row_B), used_B, count)


def follows(row_B: Tensor) -> Tensor:
    """Whether each row got its own continuation; int64, 0 or 1."""
    return (row_B == torch.arange(len(row_B), device=row_B.device)).long()
