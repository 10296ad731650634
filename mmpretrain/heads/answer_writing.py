"""The answer to a question about a picture, written word by word behind the question."""

from collections.abc import Set
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.settings import settings
from mmpretrain.heads.base import Head, HeadLearner
from mmpretrain.heads.generation.reader import QuestionReader
from mmpretrain.heads.listed import rank
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.words import WordLearner, WordObjective, next_words


@settings
class AnswerWriting(Head, WordObjective):
    """Answers of the card, written (BLIP, Li et al. 2022, arXiv 2201.12086); needs towers.decoder, and no classes.

    Of several answers to a question one is drawn by position. `write_answers` writes them word by word; asked which of
    the card's classes is the answer, it ranks those by their likelihood.
    """

    learns_from = ("answers",)
    chooses = False
    kind: Literal["answer_writing"] = "answer_writing"

    @property
    def needs(self) -> Set[str]:
        return frozenset({"decoder", "pair"})  # room for question and answer in one row

    def build(self, around: Surroundings) -> "AnswerWritingLearner":
        return AnswerWritingLearner(self, around)


class Joined(NamedTuple):
    """Question and answer in one row, no padding between them."""

    tokens_BL: Tensor
    mask_BL: Tensor
    answer_BL: Tensor
    """bool, tokens of the answer, its end included."""


class AnswerWritingLearner(WordLearner, HeadLearner):
    """-log p(word | picture, question, words before it), the mean over all words of answers in the global batch."""

    is_asked = False

    def __init__(self, settings: AnswerWriting, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.classes = around.labels[settings.called].classes if settings.called in around.labels else ()
        self._listed = around.tokenizer(list(self.classes)) if self.classes else None

    def count(self, batch: Batch) -> Tensor:
        assert batch.answer_mask_BL is not None
        return next_words(batch.answer_mask_BL, self.used(batch)).sum()

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        assert batch.answer_tokens_BL is not None
        assert batch.answer_mask_BL is not None
        joined = join(batch, batch.answer_tokens_BL, batch.answer_mask_BL)
        x_BLD = model.decode(joined.tokens_BL, joined.mask_BL, encoded.image_BND)
        chosen_BL = joined.answer_BL[:, 1:] & self.used(batch)[:, None]
        loss, right = self.score(x_BLD[:, :-1][chosen_BL], joined.tokens_BL[:, 1:][chosen_BL], model.words)
        count = count.clamp(min=1)
        share = loss / count
        return share, {"loss": share.detach(), "accuracy": right / count}

    def predict(self, model: Any, batch: Batch, encoded: Encoded) -> tuple[Tensor, ...]:
        """The log-probability of each of the card's classes, of which it needs some, as the answer, B x C; see
        `listed`.
        """
        assert self._listed is not None, "refused by recipes/combinations"
        tokens_CL, mask_CL = (each.to(batch.tokens_BL.device) for each in self._listed)
        longest = int(mask_CL.sum(dim=1).max())
        reader = QuestionReader(model, self, encoded.image_BND, batch.tokens_BL, batch.mask_BL)
        last_B1 = batch.tokens_BL.gather(1, batch.mask_BL.sum(dim=1, keepdim=True) - 1)
        return (rank(reader, last_B1[:, 0], tokens_CL[:, 1:longest], mask_CL[:, 1:longest]),)

    def probabilities(self, logits_BC: Tensor) -> Tensor:
        """What to show of an answer: among the classes."""
        return logits_BC.softmax(dim=1)


def join(batch: Batch, answer_BL: Tensor, answer_mask_BL: Tensor) -> Joined:
    """Each question with its end, and right behind it the answer without its start."""
    rows = len(batch)
    more = answer_BL.shape[1] - 1
    tokens_BL = torch.cat([batch.tokens_BL, batch.tokens_BL.new_zeros(rows, more)], dim=1)
    mask_BL = torch.cat([batch.mask_BL, batch.mask_BL.new_zeros(rows, more)], dim=1)
    is_answer_BL = torch.zeros_like(mask_BL)
    place_BL = batch.mask_BL.sum(dim=1, keepdim=True) + torch.arange(more, device=tokens_BL.device)
    tokens_BL = tokens_BL.scatter(1, place_BL, answer_BL[:, 1:])
    mask_BL = mask_BL.scatter(1, place_BL, answer_mask_BL[:, 1:])
    return Joined(tokens_BL, mask_BL, is_answer_BL.scatter(1, place_BL, answer_mask_BL[:, 1:]))
