"""Figures of a server in Prometheus' text format (exposition format 0.0.4)."""

import bisect
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
PREFIX = "mmpretrain"


class Histogram:
    """Counts of values up to each bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        comma = f"{labels}," if labels else ""
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        for bound, count in zip(names, itertools.accumulate(self._counts), strict=True):
            yield f'{name}_bucket{{{comma}le="{bound}"}} {count}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {self._sum:g}"
        yield f"{name}_count{braces} {sum(self._counts)}"


class Metrics:
    """What happened since the start."""

    def __init__(self) -> None:
        self._began = time.time()
        self._lock = threading.Lock()
        self._answered: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._rows = Histogram(ROWS)
        self._model_seconds = 0.0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        """By name: what it says, and how it is read."""
        self.totals: dict[str, tuple[str, Callable[[], float]]] = {}
        """The same of what only grows."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was."""
        self._answered[route, status] += 1
        self._seconds.setdefault(route, Histogram(SECONDS)).add(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """A model was asked; its own thread calls."""
        with self._lock:
            self._rows.add(rows)
            self._model_seconds += seconds

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from head("requests_total", "counter", "Requests that were answered.")
        for (route, status), count in sorted(self._answered.items()):
            yield f'{PREFIX}_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from head("request_seconds", "histogram", "From the head of a request to its answer.")
        for route, histogram in sorted(self._seconds.items()):
            yield from histogram.lines(f"{PREFIX}_request_seconds", f'route="{route}"')
        with self._lock:
            yield from head("batch_rows", "histogram", "Rows that a model was asked about at a time.")
            yield from self._rows.lines(f"{PREFIX}_batch_rows")
            yield from head("model_seconds_total", "counter", "Time that models worked.")
            yield f"{PREFIX}_model_seconds_total {self._model_seconds:g}"
        for kind, group in (("gauge", self.gauges), ("counter", self.totals)):
            for name, (told, read) in group.items():
                yield from head(name, kind, told)
                yield f"{PREFIX}_{name} {read():g}"
        yield from head("resident_bytes", "gauge", "Memory of the process.")
        yield f"{PREFIX}_resident_bytes {resident_bytes()}"
        yield from head("start_time_seconds", "gauge", "When it began, in Unix time.")
        yield f"{PREFIX}_start_time_seconds {self._began:.3f}"


def head(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {told}"
    yield f"# TYPE {PREFIX}_{name} {kind}"


def resident_bytes() -> int:
    """Of this process; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
