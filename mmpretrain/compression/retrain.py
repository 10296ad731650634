"""Learning on after a cut, by the run's own recipe and with the original as a teacher."""

from typing import Annotated, Literal

from pydantic import Field

from mmpretrain.compression.work import Step
from mmpretrain.core.settings import settings


@settings
class Retrain(Step):
    """Train what is left on the run's data; zeros that `magnitude` left stay zeros."""

    kind: Literal["retrain"] = "retrain"
    steps: Annotated[int, Field(gt=0)] = 400
    """Optimizer steps, with the run's batch, objectives and optimizer."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Highest learning rate; None: half of the run's."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the rate rises; it falls to the run's floor behind them."""
    distillation: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the objective distillation, with the original run as teacher; 0: without. A run whose pictures
    and texts share no space has no such teacher."""
    seed: int | None = None
    """Of order and dropout; None: the run's."""
