"""How long things take, measured in turns so that whatever else the machine does meets all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of one call, in milliseconds."""

    p50: float
    p95: float
    calls: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def alternating(calls: Mapping[str, Callable[[], Any]], rounds: int, seconds: float = 0.05) -> dict[str, Latency]:
    """Each call once in every turn, as often within a turn as fits into `seconds`.

    The first call of all, which prepares memory, is not counted.
    """
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = last = time.perf_counter()
            while last - began < seconds:
                call()
                now = time.perf_counter()
                found[name].append(1000 * (now - last))
                last = now
    return {name: latency(taken) for name, taken in found.items()}


def latency(milliseconds: list[float]) -> Latency:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return Latency(p50=float(p50), p95=float(p95), calls=len(milliseconds))
