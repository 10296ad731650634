"""Questions to fresh processes of one thread each: one, or several ranks that torchrun starts."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmpretrain.core.distributed import on_main, process_group
from mmpretrain.core.errors import MmpretrainError

TIMEOUT_SECONDS = 300.0
HERE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells its ranks, and these are not to hear of another."""


def ask_ranks(module: str, given: Any, ranks: int, environment: Mapping[str, str] | None = None) -> Any:
    """What the main one of `ranks` processes answers, whose main module calls `answer`.

    Raises:
        MmpretrainError: they failed, or did not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "given.json").write_text(json.dumps(given))
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
        run([sys.executable, *launcher, "-m", module, folder], ranks, environment or {})
        return json.loads((place / "answer.json").read_text())


def run(command: Sequence[str], ranks: int, environment: Mapping[str, str]) -> None:
    """Wait for a command; nothing of it is left behind, whatever happens.

    Raises:
        MmpretrainError: it failed or did not end; holds the end of what it said.
    """
    around = {name: value for name, value in os.environ.items() if name not in HERE}
    around |= {"OMP_NUM_THREADS": "1", **environment}
    process = subprocess.Popen(
        command, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise MmpretrainError(f"plan: {ranks} ranks did not end in {TIMEOUT_SECONDS:g} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise MmpretrainError(f"plan: {ranks} ranks failed: {said.strip()[-2000:]}")


def answer(look: Callable[[Any], Any]) -> None:
    """What a rank does: every rank looks, the main one answers."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    given = json.loads((folder / "given.json").read_text())
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        (folder / "answer.json").write_text(json.dumps(look(given)))
        return
    with process_group("gloo", 60):
        on_main(partial((folder / "answer.json").write_text, json.dumps(look(given))))
