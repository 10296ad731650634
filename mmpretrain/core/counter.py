"""Randomness as a pure function of counters: no state to save, the same on every rank, worker and version.

splitmix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), because
numpy and torch promise no stable streams across releases, and an order must outlive an upgrade.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def counter_hash(*counters: int | np.ndarray) -> np.ndarray:
    """A uint64 for each element of the broadcast counters; order matters: hash(a, b) is not hash(b, a)."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = (state + _GOLDEN) ^ _to_uint64(counter)
            state = (state ^ (state >> np.uint64(30))) * _FIRST
            state = (state ^ (state >> np.uint64(27))) * _SECOND
            state = state ^ (state >> np.uint64(31))
    return state


def _to_uint64(counter: int | np.ndarray) -> np.ndarray:
    if isinstance(counter, int):
        return np.asarray(counter & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    return counter.astype(np.int64).view(np.uint64) if counter.dtype.kind == "i" else counter.astype(np.uint64)


def hash_tensor(*counters: int | Tensor) -> Tensor:
    """`counter_hash` on the device of its tensors, int64 with the same bits; at least one counter is a tensor."""
    device = next(counter.device for counter in counters if isinstance(counter, Tensor))
    state = torch.zeros((), dtype=torch.int64, device=device)
    for counter in counters:
        # torch multiplies and adds modulo 2**64 as numpy does; only its shift to the right copies the sign
        given = counter if isinstance(counter, Tensor) else _to_int64(counter)
        state = (state + _to_int64(int(_GOLDEN))) ^ given
        state = (state ^ _shift(state, 30)) * _to_int64(int(_FIRST))
        state = (state ^ _shift(state, 27)) * _to_int64(int(_SECOND))
        state = state ^ _shift(state, 31)
    return state


def _shift(state: Tensor, bits: int) -> Tensor:
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _to_int64(counter: int) -> int:
    counter &= 0xFFFFFFFFFFFFFFFF
    return counter - (1 << 64) if counter >> 63 else counter


def uniform(hashes: Tensor) -> Tensor:
    """Hashes as numbers in [0, 1), fp64."""
    return _shift(hashes, 11).double() * 2.0**-53


def permutation(length: int, *counters: int) -> np.ndarray:
    """A permutation of range(length) drawn by `counters`, int64."""
    return np.argsort(counter_hash(*counters, np.arange(length)), kind="stable")


def seed_of(*counters: int) -> int:
    """A seed below 2**63 for generators that take one, as torch's and numpy's."""
    return int(counter_hash(*counters) >> np.uint64(1))


def seed_torch(seed: int, device: torch.device | None = None) -> None:
    """Seed the processor's generator, and the device's where it is a GPU.

    Not torch.manual_seed: without a GPU it keeps a note, with a stack trace, for every device that might come
    up later, and a run that seeds each sample would grow without end.
    """
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)


def name_to_int(text: str | bytes) -> int:
    """A stable non-negative 63-bit integer for a name or for content (BLAKE2b)."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") >> 1
