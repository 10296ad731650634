"""A function over many things on several processors: results in order, memory bounded, a death named."""

import itertools
import math
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mmpretrain.core.errors import MmpretrainError

Item = TypeVar("Item")
Result = TypeVar("Result")
PATIENCE = 5.0
"""Seconds of work that are done sooner than processes are started, which import everything again."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    chunk: int = 32,
    preload: str = "",
) -> Iterator[Result]:
    """`map(function, items)` by `workers` processes; the results are the same for any number of them.

    At most four chunks a worker are under way, however slowly the results are taken.

    Args:
        function: of a module, so that it can be pickled.
        workers: 0 works in this process; None begins here and takes every processor once that has taken a while.
        preload: a module that is imported once, before the workers are forked.

    Raises:
        MmpretrainError: a worker died, as of too little memory.
    """
    iterator = iter(items)
    if not workers:
        yield from _here(function, iterator, math.inf if workers == 0 or processors() == 1 else PATIENCE)
    yield from _elsewhere(function, iterator, workers or processors(), chunk, preload)


def _here(function: Callable[[Item], Result], iterator: Iterator[Item], seconds: float) -> Iterator[Result]:
    end = time.monotonic() + seconds
    for item in iterator:
        yield function(item)
        if time.monotonic() > end:
            return


def _elsewhere(
    function: Callable[[Item], Result], iterator: Iterator[Item], workers: int, chunk: int, preload: str
) -> Iterator[Result]:
    part = list(itertools.islice(iterator, chunk))
    if not part:
        return
    # forked from a small server of its own: this process may have threads, which fork would break
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload] if preload else [])
    with ProcessPoolExecutor(workers, context, _one_thread) as pool:
        pending: deque[Future[list[Result]]] = deque()
        try:
            while part:
                pending.append(pool.submit(_each, function, part))
                part = list(itertools.islice(iterator, chunk))
                if len(pending) >= 4 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool as error:
            raise MmpretrainError(
                "a worker process died: too little memory, or a file that crashes its decoder; repeat with --workers 0 "
                "to see which"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """A worker is one processor's worth of work; torch would start a thread for every processor in each of them."""
    import torch

    torch.set_num_threads(1)


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]
