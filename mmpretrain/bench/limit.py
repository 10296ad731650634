"""What the machine can do at most: the rate of large matrix products, to hold a rate of useful operations against."""

import time

import torch

from mmpretrain.bench.turns import Turn

SIDES = (1024, 2048, 4096)
"""Of square matrices; the best of them counts."""
TURNS = 3


def peak(dtype: torch.dtype, sides: tuple[int, ...] = SIDES, turns: int = TURNS) -> float:
    """Floating point operations a second on the threads that torch has, the best of all turns."""
    found = 0.0
    for side in sides:
        left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
        out = torch.empty(side, side, dtype=dtype)
        torch.mm(left, right, out=out)
        for _ in range(turns):
            began = time.perf_counter()
            torch.mm(left, right, out=out)
            found = max(found, 2 * side**3 / (time.perf_counter() - began))
    return found


def turn(dtype: torch.dtype) -> Turn:
    """The limit as a contender, seconds an operation: what slows the others down slows it as well."""
    return lambda: 1 / peak(dtype, turns=1)
