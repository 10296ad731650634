"""One process group at a time in a run folder."""

import fcntl
import json
import os
import platform
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mmpretrain.core.errors import MmpretrainError

_FLOCK = "hhlli0l"
"""struct flock of Linux: type, whence, start, length, process."""
LEASE_SECONDS = 120.0
"""NFSv4 servers give up the locks of a node that is gone after 90 seconds."""


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock for the length of a block.

    The system's lock on a file by this process: it ends with the process however that ends, and loader processes that
    outlive a killed one do not hold it. It also works between the nodes of a shared disk, whose server may need a lease
    to notice that a node has died: a holder on another machine is waited for. A disk without locks is told, and used.

    Raises:
        MmpretrainError: another process holds it; names host and process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as opened:
        _take(opened, file)
        opened.truncate(0)
        json.dump({"host": platform.node(), "process": os.getpid()}, opened)
        opened.flush()
        yield


def is_held(file: Path) -> bool | None:
    """Whether another process, maybe on another machine, holds a lock; None where this system cannot tell.

    It is asked for without being taken, which would refuse a process that starts at this moment.
    """
    if sys.platform != "linux":
        return None
    try:
        with file.open("rb") as opened:
            answer = fcntl.fcntl(opened, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _take(opened: TextIO, file: Path) -> None:
    deadline = time.monotonic() + LEASE_SECONDS
    while True:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            opened.seek(0)
            text = opened.read()
            if _host(text) in (None, platform.node()) or time.monotonic() > deadline:
                raise MmpretrainError(
                    f"{file.parent}: another process trains this run ({_holder(text)}); wait for it, or use another "
                    "run.folder=PATH"
                ) from None
            time.sleep(1.0)
        except OSError as error:
            print(f"{file}: this disk has no locks ({error}): start the run once only", file=sys.stderr, flush=True)
            return


def _host(text: str) -> str | None:
    try:
        return str(json.loads(text)["host"])
    except (ValueError, KeyError, TypeError):
        return None


def _holder(text: str) -> str:
    host = _host(text)
    return f"process {json.loads(text).get('process')} on {host}" if host else "which has not said its name yet"
