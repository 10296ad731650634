"""How much memory work takes beyond what its process holds before it (Linux)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_fresh_process(module: str, *arguments: Any) -> float:
    """What `python -m MODULE '[ARGUMENTS]'` prints: megabytes, usually those of `beyond`."""
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    # what is freed goes back to the system at once, or leftovers would be room that costs nothing
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(answer.stdout.strip().splitlines()[-1])


def beyond(work: Callable[[], Any]) -> float:
    """Megabytes that work takes at most beyond what this process holds."""
    # from now on; importing may have taken more for a moment than is in use
    Path("/proc/self/clear_refs").write_text("5")
    before = high_water()
    work()
    return (high_water() - before) / 1e6


def high_water() -> int:
    """The most bytes resident so far; getrusage's figure also counts the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
