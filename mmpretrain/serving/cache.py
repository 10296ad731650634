"""Vectors that are remembered, the least asked for go first."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np

OVERHEAD = 200
"""Bytes of an entry besides its numbers, about."""


class Cache:
    """Bounded by the bytes that it holds; the event loop alone touches it."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> np.ndarray | None:
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, vector_E: np.ndarray) -> None:
        """Remember a copy, which does not keep its batch alive."""
        if key in self._kept or vector_E.nbytes + OVERHEAD > self._most:
            return
        self._kept[key] = vector_E.copy()
        self.bytes += vector_E.nbytes + OVERHEAD
        while self.bytes > self._most:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes + OVERHEAD


def key_of(parts: Iterable[bytes]) -> bytes:
    """One digest; parts cannot run into each other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
