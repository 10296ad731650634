"""The command line in this process, as a person or a script sees it."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from mmpretrain.__main__ import main


def command(*arguments: object) -> subprocess.CompletedProcess:
    """What the command line would do."""
    output, errors = io.StringIO(), io.StringIO()
    words = [str(each) for each in arguments]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["mmpretrain", *words])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())


def refused(answer: subprocess.CompletedProcess, code: int) -> str:
    """The one line of a command that ended with a code."""
    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    return lines[0]
