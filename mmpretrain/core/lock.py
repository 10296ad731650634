"""One process group at a time in a run folder."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmpretrain.core.errors import MmpretrainError


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock for the length of a block.

    The system's lock on a file by this process: it ends with the process however that ends, so none is ever stale, and
    loader processes that outlive a killed one do not hold it. It also works between the nodes of a shared disk.

    Raises:
        MmpretrainError: another process holds it; names host and process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            opened.seek(0)
            raise MmpretrainError(
                f"{file.parent}: another process trains this run ({_holder(opened.read())}); wait for it, or use "
                "another run.folder=PATH"
            ) from None
        opened.truncate(0)
        json.dump({"host": platform.node(), "process": os.getpid()}, opened)
        opened.flush()
        yield


def _holder(text: str) -> str:
    try:
        held = json.loads(text)
        return f"process {held['process']} on {held['host']}"
    except (ValueError, KeyError, TypeError):
        return "which has not said its name yet"
