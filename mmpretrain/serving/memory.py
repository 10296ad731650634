"""A server's memory goes back to the system."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
ARENAS = 2
LARGE = 1 << 20
KEPT = 16 << 20


def give_memory_back() -> None:
    """Let glibc map what is large by itself, and keep few arenas.

    By default every thread gets one, and each holds on to the pictures that it once decoded. Other C libraries go
    without.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_ARENA_MAX, ARENAS)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
