"""What heads have in common: objectives that learn from labels, and are asked about other rows afterwards."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.labels import Labels
from mmpretrain.objectives.base import Learner, Objective, Surroundings
from mmpretrain.objectives.combine import TrainingModule


@settings
class Head(Objective):
    """Settings that all heads share."""

    learns_from: ClassVar[Sequence[str]] = ()
    """Keys of the card, one of which has to be there."""
    chooses: ClassVar[bool] = True
    """Among the classes of the card, which have to be the same in all its sources."""
    name: str = ""
    """What metrics call it; heads of one kind need names to be told apart. Empty: its kind."""

    @property
    def called(self) -> str:
        return self.name or super().called


class HeadLearner(Learner):
    """A head at work: its share of the loss in training, and `predict` for evaluators."""

    is_asked = False  # heads have evaluators of their own
    classes: tuple[str, ...]
    """What it tells apart, in the order of its numbers."""

    def predict(self, model: Any, batch: Batch, encoded: Encoded) -> tuple[Tensor, ...]:
        """What it says of each row, such as logits_BC; every tensor B x ..."""
        raise NotImplementedError


def predict(module: TrainingModule, batch: Batch, name: str) -> tuple[Tensor, ...]:
    """What the head `name` says of a batch. Hand it to an engine: `engine.forward("ask", predict, batch, name)`."""
    learner = next(each for each in module.objectives if isinstance(each, HeadLearner) and each.name == name)
    encoded: Encoded = module.model(batch, learner.settings.needs)
    return learner.predict(module.model, batch, encoded)


def require_classes(around: Surroundings, settings: Head, what: str = "classes") -> tuple[str, ...]:
    """The names that the head is built for.

    Raises:
        ConfigError: the card has none.
    """
    names: tuple[str, ...] = getattr(around.labels.get(settings.called, Labels()), what)
    if not names:
        raise ConfigError(
            f"objectives: {settings.called} learns from {what}, which the card of its data does not name; add `{what}` "
            "to dataset.yaml"
        )
    return names


def hits(logits_BC: Tensor, right_B: Tensor) -> Tensor:
    """Whether the largest logit is the right one's; bool, B."""
    return logits_BC.detach().argmax(dim=1) == right_B


def mean_share(losses_B: Tensor, asked_B: Tensor, count: Tensor) -> Tensor:
    """This part of the mean over the asked rows of the global batch; rows that are not asked may hold anything."""
    return torch.where(asked_B, losses_B, 0.0).sum() / count.clamp(min=1)
