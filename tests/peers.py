"""Environments of their own, as users of other tools have them: made, used, and removed."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def environment(folder: Path, *packages: str) -> Iterator[Path]:
    """The folder with the programs of a virtual environment that holds these packages; some gigabytes with torch."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        yield folder / "bin"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
