"""Writing so that a reader never sees half of it, and digests to prove it."""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.fault_points import reach

TEMPORARY = ".tmp"


def sync(path: Path) -> None:
    """Push a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: str | bytes) -> None:
    """The whole content under its name, or what was there before."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")  # processes may write the same at once
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def folder_in_one_step(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `path` when the block ends well, and vanishes when it fails."""
    temporary = path.with_name(f"{path.name}{TEMPORARY}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        temporary.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


class Openable(Protocol):
    """A Path, or what is read like one."""

    def open(self, mode: Literal["rb"], /) -> io.BufferedReader: ...


def sha256(path: Openable) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_json_line(path: Path, record: dict[str, Any], ascii_only: bool = False) -> None:
    """Add a record; a disk that does not take the whole line keeps none of it.

    Raises:
        OSError: the disk is full or gone.
    """
    line = (json.dumps(record, ensure_ascii=ascii_only) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            reach("append")
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(end)
            raise


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a last line without its end (the writer was killed) is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def require_space(
    folder: Path, needed: int, purpose: str, remedy: str = "put the run elsewhere with run.folder=PATH"
) -> None:
    """Refuse before the work what would fail after it.

    Raises:
        MmpretrainError: fewer than `needed` bytes are free where `folder` is or will be.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise MmpretrainError(
            f"{folder}: {purpose} needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
            f"free some space, or {remedy}"
        )
