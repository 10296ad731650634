"""Captioning: each word of a caption from the picture and the words before it; and the same for texts alone."""

from collections.abc import Set
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.words import WordLearner, WordObjective, next_words


@settings
class Captioning(WordObjective):
    """Captions word by word (CoCa, Yu et al. 2022, arXiv 2205.01917; BLIP, arXiv 2201.12086); needs towers.decoder."""

    kind: Literal["captioning"] = "captioning"
    prefix: Annotated[int, Field(ge=0)] = 0
    """Words at the start of each caption that are given, read both ways and not predicted (SimVLM's prefix); a
    decoder on top of the text tower (decoder.start=text) takes none."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that goes to all words alike; BLIP learns with 0.1."""

    @property
    def needs(self) -> Set[str]:
        return frozenset({"decoder"})

    def build(self, around: Surroundings) -> "CaptioningLearner":
        return CaptioningLearner(self, around)


@settings
class CausalLanguage(WordObjective):
    """Texts word by word, without pictures (GPT)."""

    kind: Literal["causal_language"] = "causal_language"

    @property
    def needs(self) -> Set[str]:
        return frozenset({"text"})

    def build(self, around: Surroundings) -> "CausalLanguageLearner":
        return CausalLanguageLearner(self, around)


class CausalLanguageLearner(WordLearner):
    """-log p(word | words before it), the mean over all words of the global batch, end tokens included."""

    prefix = 0

    def count(self, batch: Batch) -> Tensor:
        return next_words(batch.mask_BL, self.used(batch), self.prefix).sum()

    def answers(self, batch: Batch) -> Tensor:
        return self.places(batch.tokens_BL[:, 1:][next_words(batch.mask_BL, self.used(batch), self.prefix)])

    def read(self, model: Any, batch: Batch, encoded: Encoded) -> Tensor:
        """x_BLD, in which no token knows what follows it."""
        return encoded.text_BLD

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x_BLD = self.read(model, batch, encoded)
        chosen = next_words(batch.mask_BL, self.used(batch), self.prefix)
        loss, right = self.score(x_BLD[:, :-1][chosen], batch.tokens_BL[:, 1:][chosen], model.words)
        count = count.clamp(min=1)
        share = loss / count
        return share, {"loss": share.detach(), "accuracy": right / count}


class CaptioningLearner(CausalLanguageLearner):
    """-log p(word | picture, words before it), the mean over all words of the global batch, end tokens included."""

    def __init__(self, settings: Captioning, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.prefix = settings.prefix
        self.smoothing = settings.smoothing

    def read(self, model: Any, batch: Batch, encoded: Encoded) -> Tensor:
        # the start token and the prefix's words
        both_ways = self.prefix + 1 if self.prefix else 0
        text_BLD = encoded.text_BLD if model.decoder.start == "text" else None
        x_BLD: Tensor = model.decode(batch.tokens_BL, batch.mask_BL, encoded.image_BND, text_BLD, both_ways)
        return x_BLD
