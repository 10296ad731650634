"""What a step that changes weights gets, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.settings import settings
from mmpretrain.data.tokenizer import Tokenizer, Words
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.towers.model import Towers


@settings
class Step:
    """What all steps have."""

    start: Literal["previous", "original"] = "previous"
    """What the step works on: what the step before left, or the run that the command was given."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A trained model with the data that it learned from."""

    module: TrainingModule
    """In fp32, on the processor; averaged weights where the run kept them."""
    towers: Towers
    tokenizer: Tokenizer
    batches: Callable[[int], Sequence[Batch]]
    """So many of the run's training batches, from the first on."""
    captions: Callable[[], Iterator[str]]
    """Every text that the run learned from."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers by name, under all of their names."""
        return {name: tensor.detach() for name, tensor in self.module.state_dict().items()}


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The model after a step."""

    towers: Towers
    tensors: dict[str, Tensor]
    """By name; one that the new towers have no place for may be among them."""
    tokenizer: Tokenizer
    words: Words | None = None
    """What `data.tokenizer.words` says from now on; None: what it said."""
    sparse: bool = False
    """Zeros of matrices have to stay zeros from now on."""
    keep: Mapping[str, Tensor] = field(default_factory=dict)
    """Units that stayed, by the name of each part that was cut."""
    told: str
    """What was done, in one line."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same in numbers."""
