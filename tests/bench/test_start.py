"""How long a process takes until it says something: watched from outside, and ended there."""

import re
import sys
from pathlib import Path

import pytest

from mmpretrain.bench import start
from mmpretrain.bench.works import Asked
from mmpretrain.core.errors import MmpretrainError

LINE = re.compile(r"loss (\d+)\n")


def program(text: str) -> list[str]:
    return [sys.executable, "-c", f"import time\nfile = open('said', 'w', buffering=1)\n{text}"]


def test_a_process_is_ended_as_soon_as_it_says_what_is_waited_for(tmp_path: Path):
    command = program("time.sleep(0.2)\nprint('loss 3', file=file)\ntime.sleep(60)\nprint('end', file=file)")
    seconds, loss = start.until(command, tmp_path / "said", LINE, tmp_path)
    assert 0.2 < seconds < 30
    assert loss == "3"
    assert "end" not in (tmp_path / "said").read_text()


def test_a_process_that_fails_before_is_named_with_its_last_words(tmp_path: Path):
    with pytest.raises(MmpretrainError, match=r"no step after .* ValueError: no such model"):
        start.until(program("raise ValueError('no such model')"), tmp_path / "said", LINE, tmp_path)


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_both_trainers_start_with_the_same_loss():
    (row,) = start.measure(Asked(small=True))
    assert row.ratio.median > 0
    assert float(row.difference.split()[-1]) < 1e-3
