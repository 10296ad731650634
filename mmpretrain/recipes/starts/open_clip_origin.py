"""A model of open_clip to start from: a folder of its hub's layout, or an architecture by name with a weights file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import sha256
from mmpretrain.core.settings import build
from mmpretrain.core.weights import load_foreign
from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer
from mmpretrain.towers.model import Towers
from mmpretrain.towers.open_clip_config import settings_of
from mmpretrain.towers.open_clip_model import NAME, weights_of
from mmpretrain.towers.open_clip_names import ours, theirs

SETTING = "init"


def described(init: str) -> tuple[dict[str, Any], int]:
    """What stands under `towers` for such a model, and its context length; its weights are there and not read.

    Raises:
        ConfigError: there is no such model or file, or the model has what our towers have not.
    """
    given, file = parted(init)
    found = settings_of(given, SETTING)
    weights_of(given, file, SETTING)
    return found


def parted(init: str) -> tuple[str, str | None]:
    """open_clip:ARCHITECTURE and FILE, or local-dir:FOLDER, which holds its own.

    Raises:
        ConfigError: an architecture without a file.
    """
    if not init.startswith(NAME):
        return init, None
    given, _, file = init.partition("=")
    if not file:
        raise ConfigError(f"{SETTING}: {given} alone has random weights; name a file: init={given}=FILE")
    return given, file


@dataclass(frozen=True, kw_only=True)
class OpenClipOrigin:
    """Its weights under our names."""

    name: str
    file: Path
    towers: Towers
    context_length: int

    @staticmethod
    def find(init: str) -> "OpenClipOrigin":
        """Raises ConfigError: see `described`."""
        towers, context_length = described(init)
        given, file = parted(init)
        return OpenClipOrigin(
            name=given,
            file=weights_of(given, file, SETTING),
            towers=build(Towers, towers, SETTING),
            context_length=context_length,
        )

    @property
    def label(self) -> str:
        return str(self.file)

    @property
    def step(self) -> None:
        return None

    def digest(self) -> str:
        return sha256(self.file)

    def tokenizer(self) -> Tokenizer:
        return ClipTokenizer(context_length=self.context_length).build([])

    def tensors(self) -> dict[str, Tensor]:
        """In fp32, the scale and bias of its loss as those of the objectives contrastive and sigmoid.

        Raises:
            ConfigError: the file is that of another model.
            MmpretrainError: it is damaged or holds more than tensors.
        """
        tensors, unknown = ours(load_foreign(self.file))
        self._refuse_others(theirs(tensors), unknown)
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    def _refuse_others(self, found: dict[str, Tensor], unknown: list[str]) -> None:
        with torch.device("meta"):  # names and shapes alone
            model = self.towers.build(self.tokenizer().vocabulary, self.context_length)
        expected = theirs({f"model.{name}": tensor for name, tensor in model.state_dict().items()})
        missing = [name for name in expected if name not in found]
        unknown += [name for name in found if name not in expected and not name.startswith("logit_")]
        told = [f"has no {missing[0]} ({len(missing)} of {len(expected)} tensors are missing)"] if missing else []
        told += [f"has {unknown[0]}, which the model has not ({len(unknown)} left over)"] if unknown else []
        for name in (name for name in expected if name in found and found[name].shape != expected[name].shape):
            told.append(f"has {name} as {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}")
            break
        if told:
            raise ConfigError(f"{SETTING}: {self.file} is no {self.name}: {'; '.join(told)}; name its own architecture")
