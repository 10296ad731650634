"""Peers in an environment of their own, beside this one: their pinned versions, and torch as it is installed here.

Only torch and what both need is shared, by a path behind the environment's own packages: with the same torch, the same
threads and the same processor, what is measured is what the systems themselves do.
"""

import fcntl
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import MmpretrainError

PINS = ("open_clip_torch==3.3.0", "webdataset==0.2.86", "transformers==4.55.4")
"""open_clip's trainer dies on newer webdataset (KeyError 'fname'), and its captions on newer transformers."""
SCRIPTS = Path(__file__).with_name("peers")
"""Run by the peers' Python; they import nothing of this project."""
READY = "ready"
TIMEOUT_SECONDS = 1800


def home() -> Path:
    """Beside the packages of this environment, or where MMPRETRAIN_PEERS says."""
    return Path(os.environ.get("MMPRETRAIN_PEERS", Path(sys.prefix) / "peers"))


def python() -> Path:
    """The interpreter of the environment, which is made on first use (some 30 MB to download).

    Raises:
        MmpretrainError: it cannot be made, as without a network.
    """
    place = home()
    place.mkdir(parents=True, exist_ok=True)
    found = place / "bin" / "python"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / READY).is_file() or (place / READY).read_text() != " ".join(PINS):
            make(place)
            (place / READY).write_text(" ".join(PINS))
    return found


def make(place: Path) -> None:
    call([sys.executable, "-m", "venv", str(place)])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = place / "lib" / version / "site-packages"
    # read behind the environment's own packages, which therefore win
    (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call([str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *PINS])


def call(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a program writes to stdout.

    Raises:
        MmpretrainError: it failed or took too long; says the end of what it wrote.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired:
        raise MmpretrainError(f"{' '.join(command)[:200]}: did not end in {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise MmpretrainError(f"{' '.join(command)[:200]}: exit {done.returncode}: {' | '.join(last)}")
    return done.stdout


def ask(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """What one of the peers' scripts answers as JSON, on its last line."""
    said = call([str(python()), str(SCRIPTS / script), *arguments], env)
    return json.loads(said.strip().splitlines()[-1])
