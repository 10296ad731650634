"""The most memory that this process has held at a time."""

import resource
import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """On a GPU what torch held there, else the process's own, without loader processes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
