"""Tensors by name on disk: safetensors, nothing that can carry code. Foreign files come in through one door."""

import pickle
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmpretrain.core.errors import MmpretrainError


class Copies(dict[str, Tensor]):
    """Copies of tensors by name, in memory that the next copies of the same names are put into.

    Fresh memory costs up to ten times as much as the copy itself.
    """

    def put(self, name: str, tensor: Tensor) -> Tensor:
        """A copy on the processor; the one before of that name is gone."""
        held = self.get(name)
        if held is None or held.shape != tensor.shape or held.dtype != tensor.dtype:
            held = self[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return held.copy_(tensor.detach())


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors by name; they must not share memory.

    Raises:
        OSError: the disk does not take them.
    """
    with readable_as_others(path):
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
        except SafetensorError as error:
            raise OSError(str(error)) from error  # its own kind of error for a full disk


@contextmanager
def readable_as_others(path: Path) -> Iterator[None]:
    """Safetensors writes files that their owner alone may read; these get the mode that any new file has here."""
    path.touch()
    mode = path.stat().st_mode
    yield
    path.chmod(stat.S_IMODE(mode))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the processor.

    Raises:
        MmpretrainError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise MmpretrainError(f"{path}: cannot be read as safetensors: {error}") from error


FOREIGN_SUFFIXES = (".pt", ".pth", ".bin")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the weights, the averaged ones first, as timm reads them."""


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Tensors by name from somebody else's file: safetensors, or torch's format as far as it holds only tensors.

    Raises:
        MmpretrainError: another kind of file, a damaged one, or one that would run code.
    """
    if path.suffix == ".safetensors":
        return load_tensors(path)
    if path.suffix not in FOREIGN_SUFFIXES:
        raise MmpretrainError(f"{path}: weights end in .safetensors, {', '.join(FOREIGN_SUFFIXES)}")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        # no second try without weights_only: that would run what the file says
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MmpretrainError(
            f"{path}: not a file of plain tensors, refused: {cause[:160]}; ask its author for safetensors"
        ) from error
    tensors = _tensors_of(tree)
    if not tensors:
        raise MmpretrainError(f"{path}: holds no tensors by name")
    return tensors


def _tensors_of(tree: Any) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, out of its wrapper, without the prefix that DataParallel leaves."""
    while isinstance(tree, dict):
        wrapper = next((key for key in WRAPPERS if isinstance(tree.get(key), dict)), None)
        if wrapper is None:
            break
        tree = tree[wrapper]
    if not isinstance(tree, dict):
        return {}
    tensors = {str(name): tensor for name, tensor in tree.items() if isinstance(tensor, Tensor)}
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


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
