"""A run's checkpoints: which there are, whether each is whole, and which can go."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.lock import locked
from mmpretrain.core.run import Run, list_checkpoints, step_of
from mmpretrain.recipes.chosen import read_best
from mmpretrain.train import checkpoint


def list_all(folder: Path, console: Console) -> list[dict[str, Any]]:
    """What there is, newest last, without reading the tensors."""
    place = Run.open(folder)
    best = read_best(place)
    rows: list[dict[str, Any]] = []
    for found in list_checkpoints(place.checkpoints):
        state = _state(found)
        rows.append(
            {
                "step": step_of(found),
                "bytes": sum(file.stat().st_size for file in found.iterdir()),
                "date": state.get("date"),
                "ranks": state.get("ranks"),
                "average": state.get("average"),
                "best": best["value"] if best and best["step"] == step_of(found) else None,
            }
        )
    shown = Table("step", "MB", "written", "by ranks", "average", best["metric"] if best else "best", title=str(folder))
    for row in rows:
        value = "" if row["best"] is None else f"{row['best']:.4f}"
        kept = {None: "?", True: "yes", False: "no"}[row["average"]]
        megabytes = f"{row['bytes'] / 1e6:,.1f}"
        shown.add_row(str(row["step"]), megabytes, str(row["date"] or "?"), str(row["ranks"] or "?"), kept, value)
    console.print(shown)
    return rows


def _state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return state
    except (OSError, ValueError):
        return {}


def verify_all(folder: Path, console: Console) -> list[dict[str, Any]]:
    """Read every file of every checkpoint against its manifest.

    Raises:
        MmpretrainError: some is damaged; after all were read.
    """
    place = Run.open(folder)
    rows = []
    for found in list_checkpoints(place.checkpoints):
        problem = checkpoint.verify(found)
        rows.append({"step": step_of(found), "problem": problem})
        console.print(f"{found}: {problem or 'whole'}", soft_wrap=True)
    bad = [row for row in rows if row["problem"]]
    if bad:
        steps = ", ".join(str(row["step"]) for row in bad)
        raise MmpretrainError(f"{folder}: damaged: step {steps}; a run resumes from the newest that is whole")
    if not rows:
        raise ConfigError(f"{folder}: no checkpoints")
    return rows


def prune(folder: Path, keep: int, console: Console) -> list[int]:
    """Delete all but the newest `keep` and the best; nothing while the newest is damaged, or the run is training."""
    place = Run.open(folder)
    best = read_best(place)
    with locked(place.lock):
        gone = checkpoint.prune(place.checkpoints, keep, [best["step"]] if best else [])
    steps = [step_of(each) for each in gone]
    left = list_checkpoints(place.checkpoints)
    if left and checkpoint.verify(left[-1]) is not None:
        raise MmpretrainError(f"{left[-1]}: damaged, so nothing was deleted; delete it yourself first")
    console.print(f"{folder}: deleted {len(steps)} checkpoints, {len(left)} are left", soft_wrap=True)
    return steps
