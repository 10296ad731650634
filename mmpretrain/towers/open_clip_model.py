"""Whole models of open_clip, as they embed pictures and texts; nothing of them is trained here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.installed import locate
from mmpretrain.core.quiet import quiet
from mmpretrain.core.settings import did_you_mean
from mmpretrain.core.weights import load_foreign

NAME, FOLDER = "open_clip:", "local-dir:"
FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)
"""Weights in a folder of its hub's layout, the first choice first, as open_clip takes them."""
FAILURES = (RuntimeError, ValueError, TypeError, KeyError, AssertionError, ImportError, OSError, AttributeError)
"""What open_clip raises where a model, its weights or its tokenizer do not fit or want a package."""


class OpenClip(NamedTuple):
    """A model with its own way to look at pictures and texts."""

    model: Any
    preprocess: Callable[[Any], Tensor]
    """A Pillow picture to pixels_CHW of the model's size and normalisation."""
    tokenizer: Callable[[list[str]], Tensor]


def is_open_clip(given: str) -> bool:
    """Whether a name is open_clip:ARCHITECTURE or local-dir:FOLDER."""
    return given.startswith((NAME, FOLDER))


def config_of(given: str, setting: str) -> dict[str, Any]:
    """What open_clip knows of a model without building it; `embed_dim` is the width of its vectors.

    Args:
        setting: that names the model, for messages.

    Raises:
        ConfigError: there is no such model.
    """
    name = given.removeprefix(NAME)
    try:
        config: dict[str, Any] | None = open_clip.get_model_config(name)
    except FAILURES as error:
        raise ConfigError(f"{setting}: {given}: its open_clip_config.json cannot be read: {error}") from error
    if config is None:
        raise ConfigError(f"{setting}: open_clip has no {name!r}{did_you_mean(name, open_clip.list_models())}")
    if "embed_dim" not in config:
        raise ConfigError(f"{setting}: {given}: its open_clip_config.json has no embed_dim, and so is no model's")
    return config


def weights_of(given: str, weights: str | None, setting: str) -> Path:
    """The file of a model's weights.

    Args:
        weights: a path or package:NAME/FILE for open_clip:ARCHITECTURE; a folder holds its own.

    Raises:
        ConfigError: there is none.
    """
    if given.startswith(NAME):
        return locate(str(weights), setting)
    folder = Path(given.removeprefix(FOLDER))
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is None:
        raise ConfigError(f"{setting}: {folder} has none of {', '.join(FILES)}")
    return found


def load_open_clip(given: str, weights: Path, setting: str) -> OpenClip:
    """A model in evaluation mode, on the processor.

    Raises:
        ConfigError: open_clip cannot build it, or the weights are those of another one.
        MmpretrainError: the file is damaged or holds more than tensors.
    """
    name = given.removeprefix(NAME)
    if weights.suffix != ".safetensors":
        load_foreign(weights)  # refused here where it holds more than tensors, before open_clip opens it
    try:
        with quiet():  # of a model without weights, which it gets a moment later
            # no weights yet: the file is chosen above, and towers would fetch what they were once started from
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, load_weights=False, pretrained_text=False
            )
            open_clip.load_checkpoint(model, str(weights), strict=True, weights_only=True)
            return OpenClip(model.eval(), preprocess, open_clip.get_tokenizer(name))
    except FAILURES as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{setting}: open_clip cannot load {given} with {weights}: {said[:300]}") from error
