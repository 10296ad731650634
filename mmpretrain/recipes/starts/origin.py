"""What a run may start from; another kind is another file and another line in `find_origin`."""

from typing import Protocol

from torch import Tensor

from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.recipes.starts.open_clip_origin import OpenClipOrigin
from mmpretrain.recipes.starts.run_origin import RunOrigin
from mmpretrain.towers.model import Towers
from mmpretrain.towers.open_clip_model import is_open_clip


class Origin(Protocol):
    """Weights with the towers and the tokenizer that they belong to."""

    @property
    def label(self) -> str:
        """What a person knows it by."""

    @property
    def towers(self) -> Towers:
        """As it has them, without files to start from."""

    @property
    def step(self) -> int | None:
        """Of the run's checkpoint that it is; None where it is no run."""

    def digest(self) -> str:
        """SHA-256 of the file with its weights."""

    def tokenizer(self) -> Tokenizer: ...

    def tensors(self) -> dict[str, Tensor]:
        """By our names, objectives by what they are called: `objectives.contrastive.log_scale`."""


def find_origin(init: str) -> Origin:
    """What a config names as its start.

    Raises:
        ConfigError: there is no such thing, or it has what our towers have not.
    """
    return OpenClipOrigin.find(init) if is_open_clip(init) else RunOrigin.find(init)
