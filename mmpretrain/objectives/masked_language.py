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
from mmpretrain.objectives.masking import Filled, Masked, choose_words, mask_words
from mmpretrain.objectives.passages import Texts, continuation, join_passages, read_texts, single_passages
from mmpretrain.objectives.words import Logits, WordHead, WordLearner, WordObjective
from mmpretrain.towers.text import Replacement


@settings
class MaskedLanguage(WordObjective):
    """Hidden words from the text alone (BERT, Devlin et al. 2019, arXiv 1810.04805)."""

    kind: Literal["masked_language"] = "masked_language"
    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the words that are to be predicted; of those 80 % are hidden, 10 % swapped, 10 % left."""
    inside: Literal["text", "pair"] = "text"
    """text: in each text by itself; pair: in both passages of next_sentence's rows, which are then read once for both
    objectives, as BERT reads them."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"pair"} if self.inside == "pair" else {"words"})

    def build(self, around: Surroundings) -> "MaskedLanguageLearner":
        return (PairMaskedLanguageLearner if self.inside == "pair" else MaskedLanguageLearner)(self, around)


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

    def texts(self, batch: Batch) -> Texts:
        """What words are hidden in."""
        return single_passages(batch)

    def count(self, batch: Batch) -> Tensor:
        return self._predicted(batch, self.texts(batch)).sum()

    def answers(self, batch: Batch) -> Tensor:
        texts = self.texts(batch)
        return self.places(texts.tokens_BL[self._predicted(batch, texts)])

    def _predicted(self, batch: Batch, texts: Texts) -> Tensor:
        chosen_BL = choose_words(texts, batch.positions_B, self._share, self._seed)
        return chosen_BL & self.used(batch)[:, None]

    def corrupt(self, batch: Batch, texts: Texts) -> tuple[Masked, Replacement | None]:
        """The texts with words hidden, and the vector that hides them where the vocabulary has no word."""
        predicted_BL = self._predicted(batch, texts)
        masked = mask_words(texts, predicted_BL, batch.positions_B, self._seed, self._vocabulary)
        if self.mask_D is not None:
            return masked, Replacement(masked.hidden_BL, self.mask_D)
        assert self._mask_id is not None
        tokens_BL = masked.texts.tokens_BL.masked_fill(masked.hidden_BL, self._mask_id)
        return masked._replace(texts=texts._replace(tokens_BL=tokens_BL)), None

    def read(self, model: Any, encoded: Encoded, masked: Masked, hidden: Replacement | None) -> Tensor:
        """x_BLD of the corrupted texts."""
        return read_texts(model, masked.texts, hidden)

    def guess(self, model: Any, batch: Batch, encoded: Encoded) -> Filled:
        """The likeliest word at each place of the texts with words hidden."""
        texts = self.texts(batch)
        masked, hidden = self.corrupt(batch, texts)
        x_BLD = self.read(model, encoded, masked, hidden)
        guess_BL = self.ids(self.logits(model)(x_BLD, self.seen_S).argmax(dim=-1))
        return Filled(texts.tokens_BL, texts.inner_BL, masked.hidden_BL, guess_BL)

    def logits(self, model: Any) -> Logits:
        return partial(self.head, table=model.text.embedding.token)

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        texts = self.texts(batch)
        masked, hidden = self.corrupt(batch, texts)
        x_BLD = self.read(model, encoded, masked, hidden)
        chosen = masked.predicted_BL
        loss, right = self.score(x_BLD[chosen], texts.tokens_BL[chosen], self.logits(model))
        count = count.clamp(min=1)  # a step may hide no word at all
        share = loss / count
        return share, {"loss": share.detach(), "accuracy": right / count}


class PairMaskedLanguageLearner(MaskedLanguageLearner):
    """The same in rows of two passages; next_sentence judges them as they are read here, as BERT's does."""

    def __init__(self, settings: MaskedLanguage, around: Surroundings) -> None:
        super().__init__(settings, around)
        assert around.pairing is not None
        self._pairing = around.pairing

    def texts(self, batch: Batch) -> Texts:
        return join_passages(batch, continuation(batch, self.used(batch), self._pairing, self._seed))

    def read_pairs(self, model: Any, batch: Batch) -> Tensor:
        """x_BLD of the corrupted pairs: the one pass for all objectives that look at them."""
        masked, hidden = self.corrupt(batch, self.texts(batch))
        return read_texts(model, masked.texts, hidden)

    def read(self, model: Any, encoded: Encoded, masked: Masked, hidden: Replacement | None) -> Tensor:
        assert encoded.pair_BLD is not None
        return encoded.pair_BLD


class ImageMaskedLanguageLearner(MaskedLanguageLearner):
    """-log p(word | text without it, picture), the mean over all words to predict in the global batch."""

    def read(self, model: Any, encoded: Encoded, masked: Masked, hidden: Replacement | None) -> Tensor:
        tokens_BL, mask_BL = masked.texts.tokens_BL, masked.texts.mask_BL
        x_BLD: Tensor = model.fuse(tokens_BL, mask_BL, encoded.image_BND, replacement=hidden)
        return x_BLD
