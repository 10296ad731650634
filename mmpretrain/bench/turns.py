"""Contenders take turns: a machine that slows down slows all of them, and each ratio is of neighbours in time."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Turn = Callable[[], float]
"""Work that says itself how long it took, in seconds, such as the steady steps of a process."""


def timed(call: Callable[[], Any]) -> Turn:
    """Work whose whole time counts."""

    def once() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return once


def in_turns(contenders: Mapping[str, Turn], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each contender, a number a round: A B A B.

    Args:
        warm_up: rounds before, which prepare memory and caches and are not counted.
    """
    for _ in range(warm_up):
        for turn in contenders.values():
            turn()
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, turn in contenders.items():
            found[name].append(turn())
    return found


@contextmanager
def one_core() -> Iterator[None]:
    """Bind this thread, what it starts and torch's work to one core."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
