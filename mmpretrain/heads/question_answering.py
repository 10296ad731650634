"""The answer to a question about a picture, chosen among the answers that the card names."""

from collections import Counter
from collections.abc import Sequence, Set
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

AGREED = 3
"""People who have to say the same for an answer to count in full (VQA, Antol et al. 2015, arXiv 1505.00468)."""


@settings
class QuestionAnswering(Head):
    """Answers of the card (its `answers`, chosen among its `classes`) to the text, which is a question."""

    learns_from = ("answers",)
    kind: Literal["question_answering"] = "question_answering"
    reads: Reads = "fusion"
    """What it looks at; text is the baseline that sees no picture."""
    hidden: Annotated[int, Field(gt=0)] | None = None
    """Channels of a layer in between; None: one linear layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last layer's inputs zeroed in training."""
    loss: Literal["softmax", "sigmoid"] = "softmax"
    """softmax: cross-entropy of the answers, each weighed by how many gave it; sigmoid: binary cross-entropy of each
    answer's score, where several answers may be right at once (Teney et al. 2018, arXiv 1708.02711)."""

    @property
    def needs(self) -> Set[str]:
        return NEEDS[self.reads]

    def build(self, around: Surroundings) -> "QuestionAnsweringLearner":
        return QuestionAnsweringLearner(self, around)


class QuestionAnsweringLearner(HeadLearner):
    """The mean over rows of the global batch that have an answer among the classes; others are not asked."""

    def __init__(self, settings: QuestionAnswering, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.classes = require_classes(around, settings)
        self._places = {answer: place for place, answer in enumerate(self.classes)}
        self.reader = Reader(around.model, settings.reads)
        self._softmax = settings.loss == "softmax"
        self.head = layers(self.reader.width, settings.hidden, len(self.classes), settings.dropout)

    def scores(self, batch: Batch) -> Tensor:
        """What each answer would score by VQA's rule, from 0 to 1; fp32, B x C."""
        scores_BC = torch.zeros(len(batch), len(self.classes))
        for row, said in enumerate(batch.answers):
            for answer, score in scores_of(said).items():
                if answer in self._places:
                    scores_BC[row, self._places[answer]] = score
        return scores_BC.to(batch.positions_B.device)

    def _asked(self, batch: Batch, scores_BC: Tensor) -> Tensor:
        return self.used(batch) & (scores_BC.sum(dim=1) > 0)

    def count(self, batch: Batch) -> Tensor:
        return self._asked(batch, self.scores(batch)).sum()

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        (logits_BC,) = self.predict(model, batch, encoded)
        # binary cross-entropy computes in the type of its targets
        scores_BC = self.scores(batch).to(logits_BC)
        asked_B = self._asked(batch, scores_BC)
        if self._softmax:
            target_BC = scores_BC / scores_BC.sum(dim=1, keepdim=True).clamp(min=1e-9)
            losses_B = F.cross_entropy(logits_BC, target_BC, reduction="none")
        else:
            losses_B = F.binary_cross_entropy_with_logits(logits_BC, scores_BC, reduction="none").sum(dim=1)
        right_B = hits(logits_BC, scores_BC.argmax(dim=1)).float()
        share = mean_share(losses_B, asked_B, count)
        return share, {"loss": share.detach(), "accuracy": mean_share(right_B, asked_B, count)}

    def predict(self, model: Any, batch: Batch, encoded: Encoded) -> tuple[Tensor, ...]:
        """logits_BC, at least fp32."""
        return (at_least_fp32(self.head(self.reader(model, batch, encoded))),)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """What to show of an answer."""
        return logits_BC.softmax(dim=1) if self._softmax else logits_BC.sigmoid()


def scores_of(said: Sequence[str]) -> dict[str, float]:
    """Each answer with its score; one person's answer counts in full."""
    agreed = min(AGREED, len(said))
    return {answer: min(1.0, count / agreed) for answer, count in Counter(said).items()}
