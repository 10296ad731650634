"""Trainers that take a step a turn: held between turns, timed without that, and ended with all that they started."""

import re
import sys
import time
from pathlib import Path

import psutil
import pytest

from mmpretrain.bench.process import Held, Process, lines
from mmpretrain.core.errors import MmpretrainError

GONE = "gone"
STEPS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
with open("said", "w", buffering=1) as file:
    print("pids", os.getpid(), child.pid, file=file)
    while True:
        began = time.perf_counter()
        time.sleep(0.2)
        print("step", time.perf_counter() - began, file=file)
"""


def program(text: str, folder: Path) -> tuple[list[str], Path]:
    return [sys.executable, "-c", text], folder / "said"


def seconds_of(said: str) -> list[float]:
    return [float(found) for found in re.findall(r"step (.*)", said)]


def pids(folder: Path) -> list[int]:
    return [int(each) for each in lines(folder / "said").splitlines()[0].split()[1:]]


@pytest.mark.timeout(60)
def test_a_step_takes_what_it_takes_however_long_its_trainer_was_held(tmp_path: Path):
    with Held(program(STEPS, tmp_path), seconds_of, tmp_path, unsteady=2) as trainer:
        first = trainer.turn()
        said = seconds_of(lines(tmp_path / "said"))
        assert len(said) == 3, "two unsteady steps, and the one that counts"
        assert first == said[2]
        time.sleep(2)
        assert len(seconds_of(lines(tmp_path / "said"))) == 3, "nothing goes on while it is held"
        second = trainer.turn()
    assert seconds_of(lines(tmp_path / "said"))[3] > 2, "the trainer's own clock runs on"
    assert 0 < second < 2


@pytest.mark.timeout(60)
def test_what_a_trainer_started_is_held_and_ended_with_it(tmp_path: Path):
    with Held(program(STEPS, tmp_path), seconds_of, tmp_path, unsteady=0) as trainer:
        trainer.turn()
        assert all(becomes(pid, psutil.STATUS_STOPPED) for pid in pids(tmp_path))
    assert all(becomes(pid, GONE, psutil.STATUS_ZOMBIE) for pid in pids(tmp_path))


def becomes(pid: int, *wanted: str) -> bool:
    """Within seconds."""
    for _ in range(100):
        if status(pid) in wanted:
            return True
        time.sleep(0.05)
    return False


def status(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return GONE


@pytest.mark.timeout(60)
def test_a_trainer_that_ends_or_takes_too_long_is_named_with_its_last_words(tmp_path: Path):
    command, _ = program("raise ValueError('no such model')", tmp_path)
    words = pytest.raises(MmpretrainError, match=r"no step after .* ValueError: no such model")
    with Held((command, tmp_path / "said"), seconds_of, tmp_path, unsteady=0) as trainer, words:
        trainer.turn()
    process = Process([sys.executable, "-c", "import time; print('slow', flush=True); time.sleep(60)"], tmp_path)
    try:
        with pytest.raises(MmpretrainError, match=r"no step after 1 s: "):
            process.until(lambda: None, patience=1)
    finally:
        process.end()


def test_a_line_that_is_half_written_is_not_read(tmp_path: Path):
    file = tmp_path / "said"
    assert lines(file) == ""
    file.write_text("step 1.0\nstep 2")
    assert seconds_of(lines(file)) == [1.0]
