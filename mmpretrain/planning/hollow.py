"""Tensors without memory on which a real step can run: shapes and kinds of numbers, and the values of whole numbers.

torch's FakeTensorMode knows only shapes. A step also asks how many words are hidden or which row is somebody's wrong
partner, and these answers are functions of token ids, masks and positions alone: small tensors, whose values are
computed beside the shapes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten, c10d = torch.ops.aten, torch.ops.c10d

MOST = 1 << 22
"""Elements of the largest tensor whose values are computed."""
BLANK = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")
"""What makes tensors without values."""


@contextmanager
def hollow() -> Iterator[None]:
    """Tensors made in this block have no memory; whole numbers keep their values."""
    with FakeTensorMode() as fake, Values(fake):
        yield


@contextmanager
def pretended_world(ranks: int) -> Iterator[None]:
    """Rank 0 of `ranks` that do not exist; every other one holds the values of this one."""
    if ranks == 1:
        yield
        return
    dist.init_process_group("fake", rank=0, world_size=ranks, store=torch._C._distributed_c10d.HashStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


class Values(TorchDispatchMode):
    """Computes values from values, and looks at them where a shape or a branch depends on them.

    Where a value is not known, every element of a mask is taken for true and a number for 1.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self._fake = fake

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return scalar_of(args[0])
        if func is aten.nonzero.default:
            return torch.stack(self._places(args[0]), dim=1)
        if func is aten.index.Tensor:
            args = (args[0], [place for index in args[1] for place in self._as_places(index)])
        found = func(*args, **kwargs)
        # its weak references keep modules from being moved to another memory format
        self._fake.fake_tensor_converter.meta_converter.tensor_memo.clear()
        if func.namespace == "c10d":
            exchange(func, args)
        else:
            compute(func, args, kwargs, found)
        return found

    def _as_places(self, index: Tensor | None) -> list[Tensor | None]:
        is_mask = index is not None and index.dtype in (torch.bool, torch.uint8)
        return [*self._places(index)] if is_mask else [index]  # type: ignore[arg-type]

    def _places(self, mask: Tensor) -> list[Tensor]:
        """Where a mask is true, one tensor an axis."""
        value = value_of(mask)
        if value is None:
            return [torch.empty(mask.numel(), dtype=torch.int64) for _ in range(mask.ndim)]
        with unset_fake_temporarily():
            places = value.nonzero(as_tuple=True)
        return [with_value(self._fake.from_tensor(place), place) for place in places]


def with_value(hollow: Tensor, value: Tensor) -> Tensor:
    hollow.known = value  # type: ignore[attr-defined]
    return hollow


def value_of(tensor: Tensor) -> Tensor | None:
    """What a hollow tensor holds; None where that is not known."""
    if not isinstance(tensor, FakeTensor):
        return tensor
    value: Tensor | None = getattr(tensor, "known", None)
    lost = value is not None and value.numel() > 0 and value.untyped_storage().nbytes() == 0
    return None if lost else value


def forget(tensor: Tensor) -> None:
    """Of this tensor and all views of the same memory."""
    value = value_of(tensor)
    if value is not None and isinstance(tensor, FakeTensor):
        value.untyped_storage().resize_(0)


def scalar_of(tensor: Tensor) -> Any:
    """The number that a tensor of one element holds."""
    value = value_of(tensor)
    if value is None:
        return 1.0 if tensor.is_floating_point() else 1
    with unset_fake_temporarily():
        return value.item()


def compute(func: Any, args: Any, kwargs: Any, found: Any) -> None:
    """Give `found` its values where those of all arguments are known; what is overwritten by others loses its own."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    made = [leaf for leaf in tree_leaves(found) if isinstance(leaf, FakeTensor)]
    random = torch.Tag.nondeterministic_seeded in func.tags
    blank = func.overloadpacket.__name__ in BLANK or any(leaf.numel() > MOST for leaf in made)
    if random or blank or any(value_of(leaf) is None for leaf in given):
        if func._schema.is_mutable:
            for leaf in made:
                forget(leaf)
        return
    with unset_fake_temporarily():
        args, kwargs = tree_map_only(Tensor, value_of, (args, kwargs))
        values = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
    for leaf, value in zip(made, values, strict=True):
        with_value(leaf, value)


def exchange(func: Any, args: Any) -> None:
    """The values after a collective among ranks that all hold the same."""
    if func is c10d.allgather_.default:
        for parts, given in zip(args[0], args[1], strict=True):
            value = value_of(given)
            for part in parts:
                if value is not None:
                    with_value(part, value)
    elif func is c10d.allreduce_.default:
        for value in map(value_of, args[0]):
            if value is not None:
                with unset_fake_temporarily():
                    value.mul_(dist.get_world_size())
