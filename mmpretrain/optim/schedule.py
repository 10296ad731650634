"""The learning rate as a pure function of the step."""

import math
from typing import Annotated

from pydantic import Field

from mmpretrain.core.settings import settings


@settings
class Cosine:
    """Linear warmup, then half a cosine down to a floor (Loshchilov and Hutter 2017, arXiv 1608.03983)."""

    rate: Annotated[float, Field(gt=0)] = 5e-4
    """Learning rate at the peak."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps of linear rise to the peak."""
    floor: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end."""

    def at(self, step: int, steps: int) -> float:
        """The rate of step `step` (from 0) of `steps`."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, steps - self.warmup)
        return self.floor + (self.rate - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
