"""A function over many things on several processors: results in order, memory bounded, a death named."""

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mmpretrain.core.errors import MmpretrainError

Item = TypeVar("Item")
Result = TypeVar("Result")
WORTH_IT = 512
"""Fewer things than this are done sooner than processes are started."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, chunk: int = 32, preload: str = ""
) -> Iterator[Result]:
    """`map(function, items)` by `workers` processes; the results are the same for any number of them.

    At most four chunks a worker are under way, however slowly the results are taken.

    Args:
        function: of a module, so that it can be pickled.
        workers: 0 works in this process.
        preload: a module that is imported once, before the workers are forked.

    Raises:
        MmpretrainError: a worker died, as of too little memory.
    """
    if workers == 0:
        yield from map(function, items)
        return
    # forked from a small server of its own: this process may have threads, which fork would break
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload] if preload else [])
    iterator = iter(items)
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque[Future[list[Result]]] = deque()
        try:
            while part := list(itertools.islice(iterator, chunk)):
                pending.append(pool.submit(_each, function, part))
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


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]
