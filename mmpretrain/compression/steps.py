"""All steps."""

from typing import Annotated

from pydantic import Field

from mmpretrain.compression.magnitude import Magnitude
from mmpretrain.compression.prune import Prune
from mmpretrain.compression.quantize import Quantize
from mmpretrain.compression.retrain import Retrain
from mmpretrain.compression.vocabulary import Vocabulary
from mmpretrain.core.settings import settings

StepSettings = Annotated[Prune | Vocabulary | Magnitude | Retrain | Quantize, Field(discriminator="kind")]
"""The union of all steps; another one is another file and another name here."""


@settings
class Compress:
    """What a config of `mmpretrain compress` says."""

    steps: Annotated[list[StepSettings], Field(min_length=1)]
    """One after the other; each leaves a folder and a row."""
    data: str = ""
    """Split that every row is scored on, as `evaluate --data` takes it; empty: the val of the run's dataset."""
    rounds: Annotated[int, Field(gt=0)] = 20
    """Turns in which the original and what a step left are timed, one after the other."""
    batch: Annotated[int, Field(gt=0)] = 64
    """Pairs of a batch whose rate is told; latency is that of one pair."""

    def __post_init__(self) -> None:
        for place, step in enumerate(self.steps[1:], 1):
            if step.start == "previous" and self.steps[place - 1].kind == "quantize":
                raise ValueError(
                    f"steps.{place}: stands behind quantize, whose files nothing learns on from; say start: original, "
                    "or put quantize behind it"
                )
