"""Tensors by name on disk: safetensors, nothing that can carry code."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmpretrain.core.errors import MmpretrainError


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors by name; they must not share memory.

    Raises:
        MmpretrainError: the disk does not take them.
    """
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk as an error of its own
        raise MmpretrainError(
            f"{path.parent}: cannot be written: {error}; free some space and repeat the command, or choose another "
            "run.folder=PATH"
        ) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the processor.

    Raises:
        MmpretrainError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise MmpretrainError(f"{path}: cannot be read as safetensors: {error}") from error


def require_same_names(found: dict[str, Tensor], expected: dict[str, torch.Size], source: str) -> None:
    """Refuse weights that would be loaded in part.

    Raises:
        MmpretrainError: names the missing, the left over and the differently shaped tensors.
    """
    missing = [name for name in expected if name not in found]
    unused = [name for name in found if name not in expected]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    told = [
        f"{word} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for word, names in (("missing", missing), ("left over", unused), ("other shape", shapes))
        if names
    ]
    if told:
        raise MmpretrainError(f"{source}: does not fit the model: {'; '.join(told)}")
