"""A page that follows a run: it grows with it, ends with it, and is whole at any moment."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.lock import is_held
from mmpretrain.core.run import Run
from mmpretrain.recipes.report import watch
from tests.report.conftest import lay_out, record

HOLD = "import sys, time; from pathlib import Path; from mmpretrain.core.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
QUIET = Console(quiet=True)


@pytest.fixture
def at_work(tmp_path: Path):
    """A run that another process holds."""
    run = lay_out(tmp_path / "run")
    run.complete.unlink()
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield run
    process.kill()
    process.wait()


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def text_of(run: Run) -> str:
    return run.report.read_text() if run.report.exists() else ""


def test_the_page_follows_a_run_until_it_is_complete(at_work: Run):
    thread = threading.Thread(target=watch, args=(at_work.folder, 1, QUIET))
    thread.start()
    wait_for(lambda: "4 of 4" in text_of(at_work))
    assert '<meta http-equiv="refresh" content="1">' in text_of(at_work)
    first = at_work.report.stat().st_mtime_ns
    at_work.add_metrics(record(5))
    wait_for(lambda: "5 of 4" in text_of(at_work))
    assert at_work.report.stat().st_mtime_ns > first
    at_work.complete.write_text("5\n")
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert 'http-equiv="refresh"' not in text_of(at_work)
    assert "at work" not in text_of(at_work)


def test_a_dead_run_is_told_and_leaves_a_page_that_no_longer_reloads(tmp_path: Path):
    run = lay_out(tmp_path / "run")
    run.complete.unlink()
    assert is_held(run.lock) is False
    with pytest.raises(MmpretrainError, match=r"nobody trains this run, it ended at step 4 .* resumes it"):
        watch(run.folder, 1, QUIET)
    assert "The run is not finished" in text_of(run)
    assert 'http-equiv="refresh"' not in text_of(run)


def test_ctrl_c_ends_with_130_and_a_whole_page(at_work: Run):
    command = [sys.executable, "-m", "mmpretrain", "report", str(at_work.folder), "--watch", "--every", "1"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where Ctrl-C is ignored, so would the process
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    wait_for(lambda: 'http-equiv="refresh"' in text_of(at_work))
    assert is_held(at_work.lock), "looking takes no lock away"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert text_of(at_work).rstrip().endswith("</html>")
    assert 'http-equiv="refresh"' not in text_of(at_work)
