"""Ranks and the few collectives that code above the engines may use; on one process each is the identity."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.phases import progress

T = TypeVar("T")
GRACE_SECONDS = 10.0
AS_LONG_AS_IT_TAKES = timedelta(days=365)


@dataclass(frozen=True)
class World:
    """This process among all of them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @staticmethod
    def from_environment() -> "World":
        """Rank and size as torchrun, srun and mpirun announce them, in open_clip's order."""
        for size, rank, local in (
            ("WORLD_SIZE", "RANK", "LOCAL_RANK"),
            ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
            ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
            ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
        ):
            if size in os.environ and rank in os.environ:
                return World(int(os.environ[rank]), int(os.environ[size]), int(os.environ.get(local, 0)))
        return World()


def world() -> World:
    """The world as the process group sees it; one process where there is none."""
    if not is_distributed():
        return World()
    return World(dist.get_rank(), dist.get_world_size(), World.from_environment().local_rank)


_alone = False
_patient: Any = None
"""The group in which ranks wait for work of the main rank, on processors; None before there is one."""


def is_distributed() -> bool:
    return not _alone and dist.is_available() and dist.is_initialized()


@contextmanager
def alone() -> Iterator[None]:
    """As if this process were the only one, for the length of a block: for what every rank computes whole."""
    global _alone
    held, _alone = _alone, True
    try:
        yield
    finally:
        _alone = held


@contextmanager
def process_group(backend: str, timeout_seconds: float) -> Iterator[World]:
    """Join the process group for the length of a run and leave it in good order.

    Args:
        timeout_seconds: without progress; a collective waits a little longer, because whoever watches the ranks says
            more about a hang than the error of a collective.
    """
    announced = World.from_environment()
    os.environ.setdefault("RANK", str(announced.rank))
    os.environ.setdefault("WORLD_SIZE", str(announced.size))
    os.environ.setdefault("LOCAL_RANK", str(announced.local_rank))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    # one process alone takes any free port, so that two runs on a machine do not meet
    os.environ.setdefault("MASTER_PORT", "29500" if announced.size > 1 else "0")
    global _patient
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds + GRACE_SECONDS))
    _patient = dist.new_group(backend="gloo", timeout=AS_LONG_AS_IT_TAKES) if announced.size > 1 else None
    try:
        yield world()
        # gloo's threads let go of their last tensors a moment after wait() returns, and need the interpreter for
        # it: one that is already ending would abort the process (pytorch#179291)
        dist.barrier()
    finally:
        _patient = None
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Rows of all ranks, in the order of ranks; backward sums what every rank says of a row."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()  # and so are the parts: what is sent is memory, whatever its strides say
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        with progress.waiting():
            dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # a copy: autograd may hand the same tensor to others
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        with progress.waiting():
            dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather(rows: Tensor) -> Tensor:
    """Rows (first dimension) of all ranks, with the exact gradient; every rank holds equally many."""
    gathered: Tensor = _Gather.apply(rows) if is_distributed() else rows
    return gathered


def own_rows(local: Tensor) -> slice:
    """Where the rows of this rank stand in what `gather` returns."""
    start = world().rank * len(local)
    return slice(start, start + len(local))


def global_sum(value: Tensor) -> Tensor:
    """The sum over ranks, detached: for counts and for numbers to print."""
    if not is_distributed():
        return value.detach()
    total = value.detach().clone()
    with progress.waiting():
        dist.all_reduce(total)
    return total


def global_max(value: Tensor) -> Tensor:
    """The largest over ranks, element by element, detached."""
    if not is_distributed():
        return value.detach()
    largest = value.detach().clone()
    with progress.waiting():
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def gather_objects(item: T) -> list[T]:
    """One small picklable object from each rank, in order, on every rank (our own processes only)."""
    if not is_distributed():
        return [item]
    items: list[Any] = [None] * dist.get_world_size()
    with progress.waiting():
        dist.all_gather_object(items, item)
    return items


def raise_together(failure: MmpretrainError | None) -> None:
    """End all ranks with one message where any of them has failed; every rank calls, at the same point.

    Without this a rank that cannot read its data leaves the others waiting in their next collective.

    Raises:
        MmpretrainError: the failure of the lowest rank that has one.
    """
    failures = [failure]
    if is_distributed() and bool(global_sum(torch.tensor(float(failure is not None), device=_device()))):
        failures = gather_objects(failure)
    first = next((found for found in failures if found is not None), None)
    if first is not None:
        first.on_every_rank = True
        raise first


def on_all(work: Callable[[], T]) -> T:
    """Do something on every rank, such as opening its own copy of the data; where one fails, all raise its error.

    Raises:
        MmpretrainError: the error of the lowest rank that has one.
    """
    result, failure = None, None
    try:
        result = work()
    except MmpretrainError as error:
        failure = error
    raise_together(failure)
    return result  # type: ignore[return-value]


def together(items: Iterable[T]) -> Iterator[T]:
    """The items of each rank, equally many everywhere; where one rank's fail, all ranks raise its error.

    Raises:
        MmpretrainError: the error of the lowest rank that has one.
    """
    iterator = iter(items)
    while True:
        item, failure, ended = None, None, False
        try:
            item = next(iterator)
        except StopIteration:
            ended = True
        except MmpretrainError as error:
            failure = error
        raise_together(failure)
        if ended:
            return
        yield item  # type: ignore[misc]


def _device() -> torch.device:
    """Where collectives of this process group want their tensors."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def on_main(work: Callable[[], T]) -> T:
    """Do something on the main rank alone; every rank gets its result, or raises its error.

    Without this a failing disk on rank 0 leaves the others waiting for it. Every rank calls, in the same order. The
    others wait as long as the main rank lives. In training `train/watch.py` ends ranks that make no progress; elsewhere
    one that stands still is for whoever started the ranks to end.
    """
    if not is_distributed():
        return work()
    parcel: list[Any] = [None, None]
    if world().is_main:
        try:
            parcel[0] = work()
        except Exception as error:
            parcel[1] = error
    with progress.waiting():
        dist.broadcast_object_list(parcel, group=_patient)
    result, failure = parcel
    if failure is not None:
        if isinstance(failure, MmpretrainError):
            failure.on_every_rank = True
        raise failure
    return result
