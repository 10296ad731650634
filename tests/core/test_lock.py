"""One process group at a time, on disks as they are."""

import errno
import fcntl
import json
import multiprocessing
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from mmpretrain.core import lock
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.lock import locked


def hold(file: Path, ready: Any, over: Any) -> None:
    with locked(file):
        ready.set()
        over.wait(30)


@pytest.fixture
def held(tmp_path: Path) -> Any:
    """The lock in the hands of another process."""
    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "run.lock", ready, over))
    process.start()
    assert ready.wait(30)
    yield tmp_path / "run.lock"
    over.set()
    process.join()


def test_who_comes_second_on_the_same_machine_is_told_at_once_who_holds_it(held: Path) -> None:
    with pytest.raises(MmpretrainError, match=rf"another process trains this run \(process \d+ on {platform.node()}\)"):
        locked(held).__enter__()


def test_a_holder_on_another_machine_is_waited_for_because_its_node_may_be_gone(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.write_text(json.dumps({"host": "node7", "process": 1}))
    waits: list[float] = []
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.05)
    monkeypatch.setattr(lock.time, "sleep", waits.append)
    with pytest.raises(MmpretrainError, match="process 1 on node7"):
        locked(held).__enter__()
    assert waits


def test_a_disk_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked(tmp_path / "run.lock"):
        pass
    assert "this disk has no locks" in capsys.readouterr().err
