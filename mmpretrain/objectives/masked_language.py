"""Masked language modelling: hidden words from the words around them, and from the picture where there is one."""

from collections.abc import Set
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.masking import Masked, choose_words, inner_words, mask_words
from mmpretrain.objectives.words import Logits, WordHead, WordLearner, WordObjective
from mmpretrain.towers.text import Replacement


@settings
class MaskedLanguage(WordObjective):
    """Hidden words from the text alone (BERT, Devlin et al. 2019, arXiv 1810.04805)."""

    kind: Literal["masked_language"] = "masked_language"
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the words that are to be predicted; of those 80 % are hidden, 10 % swapped, 10 % left."""

    def build(self, around: Surroundings) -> "MaskedLanguageLearner":
        return MaskedLanguageLearner(self, around)


@settings
class ImageMaskedLanguage(WordObjective):
    """Hidden words from the text and its picture (ALBEF, Li et al. 2021, arXiv 2107.07651); needs towers.fusion."""

    kind: Literal["image_masked_language"] = "image_masked_language"
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the words that are to be predicted; of those 80 % are hidden, 10 % swapped, 10 % left."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"fusion"})

    def build(self, around: Surroundings) -> "ImageMaskedLanguageLearner":
        return ImageMaskedLanguageLearner(self, around)


class MaskedLanguageLearner(WordLearner):
    """-log p(word | text without it), the mean over all words to predict in the global batch."""

    def __init__(self, settings: MaskedLanguage | ImageMaskedLanguage, around: Surroundings) -> None:
        super().__init__(settings, around)
        text = around.model.text
        self._share = settings.share
        self._seed = around.seed
        self._vocabulary = around.model.vocabulary
        self._mask_id = around.mask_id
        self.head = WordHead(text.width, self._vocabulary)
        # a vocabulary such as CLIP's has no word for what is hidden
        self.mask_D = nn.Parameter(torch.randn(text.width) * 0.02) if around.mask_id is None else None

    def count(self, batch: Batch) -> Tensor:
        return self._predicted(batch).sum()

    def answers(self, batch: Batch) -> Tensor:
        return self.places(batch.tokens_BL[self._predicted(batch)])

    def _predicted(self, batch: Batch) -> Tensor:
        eligible_BL = inner_words(batch.mask_BL) & self.used(batch)[:, None]
        return choose_words(eligible_BL, batch.positions_B, self._share, self._seed)

    def corrupt(self, batch: Batch) -> tuple[Masked, Replacement | None]:
        """The batch's texts with words hidden, and the vector that hides them where the vocabulary has no word."""
        masked = mask_words(batch.tokens_BL, self._predicted(batch), batch.positions_B, self._seed, self._vocabulary)
        if self.mask_D is not None:
            return masked, Replacement(masked.hidden_BL, self.mask_D)
        assert self._mask_id is not None
        return masked._replace(tokens_BL=masked.tokens_BL.masked_fill(masked.hidden_BL, self._mask_id)), None

    def read(self, model: Any, batch: Batch, encoded: Encoded, masked: Masked, hidden: Replacement | None) -> Tensor:
        """x_BLD of the corrupted texts."""
        x_BLD: Tensor = model.text(masked.tokens_BL, batch.mask_BL, replacement=hidden, causal=False)[0]
        return x_BLD

    def guess(self, model: Any, batch: Batch, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Which words are hidden (bool, B x L), and the likeliest word at each place."""
        masked, hidden = self.corrupt(batch)
        x_BLD = self.read(model, batch, encoded, masked, hidden)
        return masked.hidden_BL, self.ids(self.logits(model)(x_BLD, self.seen_S).argmax(dim=-1))

    def logits(self, model: Any) -> Logits:
        return partial(self.head, table=model.text.embedding.token)

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        masked, hidden = self.corrupt(batch)
        x_BLD = self.read(model, batch, encoded, masked, hidden)
        chosen = masked.predicted_BL
        loss, right = self.score(x_BLD[chosen], batch.tokens_BL[chosen], self.logits(model))
        count = count.clamp(min=1)  # a step may hide no word at all
        share = loss / count
        return share, {"loss": share.detach(), "accuracy": right / count}


class ImageMaskedLanguageLearner(MaskedLanguageLearner):
    """-log p(word | text without it, picture), the mean over all words to predict in the global batch."""

    def read(self, model: Any, batch: Batch, encoded: Encoded, masked: Masked, hidden: Replacement | None) -> Tensor:
        x_BLD: Tensor = model.fuse(masked.tokens_BL, batch.mask_BL, encoded.image_BND, replacement=hidden)
        return x_BLD
