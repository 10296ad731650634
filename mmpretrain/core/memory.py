"""What memory this process has held at most, and what it does with memory that it no longer needs."""

import contextlib
import ctypes
import resource
import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """On a GPU what torch held there, else the process's own, without loader processes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
EVERYTHING, LARGEST = -1, 2**31 - 1


def keep_freed_memory(most: int = EVERYTHING) -> None:
    """Let glibc keep freed blocks for the next ones that are asked for; other C libraries go without.

    By default it gives large blocks back to the system at once, and asks for them anew: page faults were a fifth of a
    loader's time (`mmpretrain bench data`), and of a training step on the processor between 0.1 (ViT-B/32, 64 pairs in
    bf16) and 0.29 (ViT-S/16, 64 pairs in fp32). The most that a process held at a time grew by 2 %.

    Args:
        most: bytes that are kept; all of them by default.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, most)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST if most == EVERYTHING else most)
