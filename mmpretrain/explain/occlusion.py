"""Occlusion: what the score loses when a square of the picture is painted over."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.explain.base import Target, from_least
from mmpretrain.explain.fills import Fill, filled

AT_A_TIME = 64
"""Pictures."""


@settings
class Occlusion:
    """Zeiler and Fergus 2014, arXiv 1311.2901, by captum; suits every tower."""

    kind: Literal["occlusion"] = "occlusion"
    window: Annotated[int, Field(ge=2)] = 4
    """Squares that a side of the picture holds."""
    steps: Annotated[int, Field(ge=1)] = 4
    """Places within a square's side at which it is put down."""
    fill: Fill = "mean"
    """What the square is painted with."""

    def __call__(self, model: Any, target: Target, image_CHW: Tensor) -> Tensor:
        occlusion = captum_attr().Occlusion(target.score)
        side = max(1, image_CHW.shape[1] // self.window)
        step = max(1, side // self.steps)
        pixels_1CHW = image_CHW[None].float()
        with torch.no_grad():
            lost_1CHW = occlusion.attribute(
                pixels_1CHW,
                sliding_window_shapes=(3, side, side),
                strides=(3, step, step),
                baselines=filled(pixels_1CHW, self.fill),
                perturbations_per_eval=AT_A_TIME,
            )
        return from_least(lost_1CHW[0, 0])


def captum_attr() -> Any:
    """Raises ConfigError: captum is not installed."""
    try:
        import captum.attr
    except ImportError as error:
        raise ConfigError('explain: needs captum; pip install -e ".[explain]"') from error
    return captum.attr
