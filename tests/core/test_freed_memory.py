"""What a process does with memory that it has freed."""

import platform
import subprocess
import sys

import pytest

PAGES = 16_384
"""Of the 64 MB that are asked for and freed again and again."""
PROGRAM = f"""
import resource, torch
from mmpretrain.core.memory import keep_freed_memory
{{keep}}
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(24):  # aligned blocks find their places
    torch.ones({PAGES} * 1024)
before = faults()
for _ in range(4):
    torch.ones({PAGES} * 1024)
print(faults() - before)
"""


def faults(keep: str) -> int:
    command = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries go without")
def test_what_is_kept_is_not_asked_for_again():
    assert faults("") > 2 * PAGES, "by default each block comes page by page"
    assert faults("keep_freed_memory()") < PAGES / 8
