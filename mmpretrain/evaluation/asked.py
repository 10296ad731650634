"""Whom an `Embedder` asks: the model of a run behind its engine."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.heads.generation.write import Generation


class Measured(NamedTuple):
    """What objectives say of one batch, by objective."""

    sums: dict[str, float]
    """`OBJECTIVE/METRIC`, summed over what was asked."""
    counts: dict[str, float]
    """How often something was asked."""
    answers: dict[str, Counter[int]]
    """How often each answer was right."""


@dataclass(frozen=True, kw_only=True)
class HeadFacts:
    """What an evaluator knows of a head."""

    kind: str
    classes: Sequence[str]
    probabilities: Callable[[Tensor], Tensor]
    """logits_NC -> what they say, N x C; of a head that says something else, the same."""
    several: bool = False
    """A row may have several classes."""


class Asked(Protocol):
    """The model behind an engine; all ranks call each method equally often, with batches of their own."""

    has_features: bool
    """Whether pictures and texts share a space."""

    def embed(self, batch: Batch) -> Features:
        """What both towers say."""

    def embed_texts(self, tokens_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """text_BE, of unit length."""

    def pool(self, batch: Batch) -> Tensor:
        """What the image tower pools of each picture, B x width."""

    def measure(self, batch: Batch) -> Measured:
        """What the run's objectives say."""

    def predict(self, batch: Batch, head: str) -> tuple[Tensor, ...]:
        """What a head says, by its name."""

    def write(self, batch: Batch, generation: Generation) -> list[str]:
        """A text about each picture; what is drawn is keyed by the batch's positions."""

    def answer(self, batch: Batch, head: str, generation: Generation) -> tuple[list[str], Tensor]:
        """What a head writes behind each question, and the probability of that text, fp64."""

    def scale(self) -> float:
        """The inverse temperature that the run learned for its features."""

    def match(self, batch: Batch, texts: Sequence[Sequence[str]]) -> list[Tensor]:
        """How well each of some texts fits each picture: the log-odds of belonging together."""
