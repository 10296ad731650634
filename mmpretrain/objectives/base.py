"""What every objective has: its weight over the steps, the sources it learns from, and what it needs to be built."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch
from mmpretrain.core.settings import settings
from mmpretrain.data.labels import Labels
from mmpretrain.objectives.passages import Pairing

Step = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]


@settings
class Objective:
    """Settings that all objectives share."""

    weight: Weight | list[tuple[Step, Weight]] = 1.0
    """Factor in the sum of objectives; or [step, weight] pairs, with straight lines between them."""
    sources: list[str] = field(default_factory=list)
    """Names of the data.sources that it learns from; empty: all of them."""

    def __post_init__(self) -> None:
        if not any(weight for _, weight in self.stages()):
            raise ValueError("weight: is 0 at every step; leave the objective out")

    @property
    def needs(self) -> Set[str]:
        """Parts of the model, as `towers.model.Need` names them."""
        return frozenset()

    @property
    def called(self) -> str:
        """What metrics call it."""
        kind: str = self.kind  # type: ignore[attr-defined]
        return kind

    def stages(self) -> list[tuple[int, float]]:
        """(step, weight) in rising order of step."""
        return sorted(self.weight) if isinstance(self.weight, list) else [(0, self.weight)]

    def weight_at(self, step: int) -> float:
        """The factor at a step."""
        steps, weights = zip(*self.stages(), strict=True)
        return float(np.interp(step, steps, weights))


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an objective may look at when it is built."""

    model: Any
    """The model, for widths and shared tables."""
    sources: Sequence[str] = ()
    """Names of the datasets that rows come from."""
    seed: int = 0
    """Of masks and other draws."""
    mask_id: int | None = None
    """The tokenizer's id for a hidden word, where it has one."""
    seen_S: Tensor | None = None
    """Ids that the training texts hold, in rising order, where an objective asks for them."""
    pairing: Pairing | None = None
    """How passages are paired, where an objective pairs them."""
    text_teacher: Any = None
    """The `TextTeacher` that an objective asks for; None in evaluation."""
    tokenizer: Any = None
    """Texts to tokens_BL and mask_BL."""
    labels: Mapping[str, Labels] = field(default_factory=dict)
    """What the labels mean that a head learns from, by its name."""


class Learner(nn.Module):
    """An objective at work.

    One that needs the features of the global batch (`is_global`) is called as `forward(features, count)`, all others,
    whose rows do not know each other beyond a micro-batch, as `forward(model, batch, encoded, count)`. Both return
    this rank's share of the full-batch loss and metrics that add up over micro-batches and ranks.
    """

    is_global: ClassVar[bool] = False
    is_asked: ClassVar[bool] = True
    """Whether held-out figures say how well it does, where it is not global."""

    def __init__(self, settings: Any, around: Surroundings) -> None:
        super().__init__()
        self.name: str = settings.called
        self.settings = settings
        chosen = [place for place, name in enumerate(around.sources) if name in settings.sources]
        self._sources = chosen if settings.sources else None

    def count(self, batch: Batch) -> float | Tensor:
        """What the loss is divided by, of this batch: a pure function, without parameters."""
        raise NotImplementedError

    def answers(self, batch: Batch) -> Tensor:
        """The right answers to what is asked of a batch, int64: how often the most frequent one is right is chance.

        Empty where answers are no choice.
        """
        return batch.positions_B[:0]

    @property
    def uses_all(self) -> bool:
        """Whether it learns from every source."""
        return self._sources is None

    def used(self, batch: Batch) -> Tensor:
        """Whether each row comes from a source that the objective learns from; bool, B."""
        source_B = batch.positions_B * 0 if batch.source_B is None else batch.source_B
        return self.uses(source_B)

    def uses(self, source_B: Tensor) -> Tensor:
        """The same for the sources of rows; in evaluation all rows but those that fill a batch up (-1)."""
        if self._sources is None or not self.training:
            return source_B >= 0
        return torch.isin(source_B, torch.tensor(self._sources, device=source_B.device))
