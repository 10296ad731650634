"""What is exported: a trained model by itself, and samples on which what was exported has to say the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.objectives.captioning import CaptioningLearner
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.matching import MatchingLearner
from mmpretrain.objectives.pairs import PairLearner
from mmpretrain.towers.model import Model, Towers


class Samples(NamedTuple):
    """Pictures with their texts."""

    name: str
    """DATASET:SPLIT."""
    pictures: list[Tensor]
    """uint8, 3 x height x width, of any size."""
    images_BCHW: Tensor
    """The same as the image tower gets them."""
    texts: list[str]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run's model, averaged weights where it kept them, low-rank changes added; in fp32, on the processor."""

    run: str
    """What a person knows it by."""
    step: int
    towers: Towers
    tokenizer: Tokenizer
    module: TrainingModule
    """In evaluation mode, without gradients."""
    samples: Samples

    @property
    def model(self) -> Model:
        model: Model = self.module.model
        return model

    @property
    def has_features(self) -> bool:
        """Whether pictures and texts share a space."""
        return "features" in self.module.needs

    @property
    def pairs(self) -> Any | None:
        """The first objective that compares pictures and texts, whose scale is theirs."""
        return self._first(PairLearner)

    @property
    def matching(self) -> Any | None:
        """What says whether a text belongs to a picture."""
        return self._first(MatchingLearner)

    @property
    def captioning(self) -> Any | None:
        """What writes captions from their first word on."""
        found = self._first(CaptioningLearner)
        return None if found is None or found.prefix else found

    def _first(self, kind: type) -> Any | None:
        return next((each for each in self.module.objectives if isinstance(each, kind)), None)

    def left_out(self, taken: Sequence[Any | None]) -> list[str]:
        """What the run learned beside the objectives that an export takes along."""
        return [str(each.name) for each in self.module.objectives if not any(each is one for one in taken)]


class Compared(NamedTuple):
    """How far something exported is from torch."""

    name: str
    largest_difference: float
    """Absolute."""
    largest_number: float
    """That torch says; infinity left out."""
    numbers: int
    """That were compared."""
    tolerance: float | None
    """Of numbers up to 1, and of larger ones in proportion: vectors are of unit length, inner tokens are not. None: the
    difference is only told."""

    @property
    def passed(self) -> bool:
        allowed = self.tolerance
        # not the other way round: a difference that is no number has not passed
        return allowed is None or self.largest_difference <= allowed * max(1.0, self.largest_number)


def compare(name: str, ours: Tensor, theirs: Tensor, tolerance: float | None) -> Compared:
    """The largest difference; infinities of one sign are equal."""
    if ours.shape != theirs.shape:
        return Compared(name, float("nan"), 0.0, 0, tolerance)
    equal = ours == theirs
    far = torch.where(equal, 0, (ours.double() - theirs.double()).abs())
    largest = ours[ours.isfinite()].abs().max()
    return Compared(name, float(far.max()), float(largest), far.numel(), tolerance)
