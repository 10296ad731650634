"""All methods."""

from typing import Annotated, Any, get_args

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.explain.base import Maker, Target, tower_of
from mmpretrain.explain.gradcam import GradCam
from mmpretrain.explain.gradient_attention import GradientAttention
from mmpretrain.explain.hires_cam import HiResCam
from mmpretrain.explain.layer_cam import LayerCam
from mmpretrain.explain.occlusion import Occlusion
from mmpretrain.explain.rise import Rise
from mmpretrain.explain.rollout import Rollout

Attention = Rollout | GradientAttention
Activations = GradCam | HiResCam | LayerCam
Perturbations = Occlusion | Rise
Methods = Attention | Activations | Perturbations
Method = Annotated[Methods, Field(discriminator="kind")]
"""The union of all methods; another one is another file and another name here."""
DEFAULT = "hires_cam"
"""Of towers that give a map, and the most faithful of the fast ones on the quickstart (README); a transformer's is
gradient_attention."""
BLIND = (Rollout,)
"""Give one map of a picture, whatever is asked about it: words cannot be told apart by them."""


def methods() -> dict[str, Any]:
    """Settings of each method by its name."""
    return {each.kind: each for each in get_args(Methods)}


def method_named(name: str, model: Any, target: Target | None = None) -> Maker:
    """A method by name; empty: the one that suits what is asked.

    Raises:
        ConfigError: there is none of that name.
    """
    known = methods()
    name = name or suited(model, target)
    if name not in known:
        raise ConfigError(f"--method: there is none called {name!r}{did_you_mean(name, known)}")
    made: Maker = known[name]()
    return made


def suited(model: Any, target: Target | None = None) -> str:
    """The method for a target: its reader's attention, that of a transformer, else activations."""
    if target is not None and target.reader is not None:
        return GradientAttention.kind
    return GradientAttention.kind if tower_of(model).prefix else DEFAULT
