"""Which checkpoint stands for a run: its best where it keeps one, else its newest."""

import json
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run, list_checkpoints, step_of
from mmpretrain.train import checkpoint


def chosen_checkpoint(folder: Path, setting: str = "") -> Path:
    """Of a run.

    Args:
        setting: that names the run, for the message.

    Raises:
        ConfigError: it is no run, has no checkpoint that verifies, or its best is damaged, which no other stands for.
    """
    place = Run.open(folder)
    best = read_best(place)
    if best is not None:
        found = place.checkpoints / f"step_{best['step']:08d}"
        if problem := checkpoint.verify(found):
            raise ConfigError(
                f"{said_of(setting)}{found}, the best of its run: {problem}; bring it back, or remove the folder, and "
                "the newest stands for the run"
            )
        return found
    newest, complaints = checkpoint.find_newest(place.checkpoints)
    if newest is None:
        said = f": {complaints[0]}" if complaints else ""
        raise ConfigError(f"{said_of(setting)}{folder} has no checkpoint{said}")
    return newest


def said_of(setting: str) -> str:
    return f"{setting}: " if setting else ""


def read_best(place: Run) -> dict[str, Any] | None:
    """The best evaluation of a run so far, while its checkpoint is there."""
    if not place.best.is_file():
        return None
    best: dict[str, Any] = json.loads(place.best.read_text(encoding="utf-8"))
    steps = [step_of(folder) for folder in list_checkpoints(place.checkpoints)]
    return best if best["step"] in steps else None
