"""Which tensors there are at this moment, and how many bytes they hold by label."""

import weakref
from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Holdings:
    """Memory of tensors from when it is noticed until nobody refers to it; what several tensors share counts once."""

    def __init__(self) -> None:
        self.live: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        """The live ones at the moment when they were most."""
        self._labels: dict[int, str | None] = {}

    def take(self, tensor: Tensor, label: str | None) -> None:
        """Notice a tensor; None: somebody else counts it."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._labels or tensor.is_meta:
            return
        self._labels[key] = label
        if label is not None:
            self.live[label] += size
        weakref.finalize(storage, self._let_go, key, size)

    def disown(self, tensor: Tensor) -> None:
        """From now on somebody else counts it."""
        storage = tensor.untyped_storage()
        label = self._labels.get(storage._cdata)
        if label is not None:
            self.live[label] -= storage.nbytes()
            self._labels[storage._cdata] = None

    def note(self) -> None:
        """Compare with the most so far."""
        if self.live.total() > self.most.total():
            self.most = self.live.copy()

    def _let_go(self, key: int, size: int) -> None:
        label = self._labels.pop(key, None)
        if label is not None:
            self.live[label] -= size


class Peak(TorchDispatchMode):
    """The most bytes of tensors at a time, of all that are made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self._holdings = Holdings()

    @property
    def bytes(self) -> int:
        return self._holdings.most.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._holdings.take(leaf, "all")
        self._holdings.note()
        return found
