"""Checkpoints: one folder a step in one format for every engine, whole or not there.

    step_00000100/
      weights.safetensors    parameters and buffers by name
      optimizer.safetensors  moments by `moment.name`
      ema.safetensors        averaged weights, where the run keeps them
      state.json             step, position, optimizer steps, config digest
      tokenizer.json  config.yaml
      manifest.json          SHA-256 and size of every file above; written last

No random state is stored: order, augmentation and dropout are functions of the position.
"""

import datetime
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmpretrain.core.distributed import on_main, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import TEMPORARY, folder_in_one_step, sha256, write_atomic
from mmpretrain.core.run import list_checkpoints
from mmpretrain.core.weights import load_tensors, save_tensors

FORMAT = "mmpretrain-checkpoint-1"
MANIFEST = "manifest.json"
LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a folder holds, read and verified."""

    folder: Path
    step: int
    config_digest: str
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, Tensor]
    optimizer_steps: dict[str, int]


def save(root: Path, engine: Any, step: int, position: int, config_digest: str, texts: Mapping[str, str]) -> Path:
    """Write the checkpoint of `step` steps; every rank calls, the main one writes.

    Args:
        root: the run's checkpoints folder.
        position: place of the next sample in the endless order.
        texts: further small files by name.
    """
    weights, average, optimizer = engine.weights(), engine.weights(averaged=True), engine.optimizer_state()
    folder = root / f"step_{step:08d}"

    def write() -> None:
        if verify(folder) is not None:
            shutil.rmtree(folder, ignore_errors=True)  # one that was damaged, or not there
            state = {
                "format": FORMAT,
                "step": step,
                "position": position,
                "config_digest": config_digest,
                "ranks": world().size,
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "optimizer_steps": optimizer.steps,
            }
            with folder_in_one_step(folder) as temporary:
                save_tensors(temporary / "weights.safetensors", weights)
                save_tensors(temporary / "optimizer.safetensors", optimizer.moments)
                if average:
                    save_tensors(temporary / "ema.safetensors", average)
                for name, text in {**texts, "state.json": json.dumps(state, indent=1)}.items():
                    (temporary / name).write_text(text, encoding="utf-8")
                _write_manifest(temporary)
            write_atomic(root / LATEST, folder.name)

    on_main(write)
    return folder


def _write_manifest(folder: Path) -> None:
    files = {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1), encoding="utf-8")


def verify(folder: Path) -> str | None:
    """None when every file is as the manifest says, else what is wrong."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"unknown format {manifest['format']!r}"
        for name, facts in manifest["files"].items():
            if (folder / name).stat().st_size != facts["bytes"] or sha256(folder / name) != facts["sha256"]:
                return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None


def find_newest(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and why newer ones do not. The file `latest` is only a hint."""
    complaints: list[str] = []
    for folder in reversed(list_checkpoints(root)):
        problem = verify(folder)
        if problem is None:
            return folder, complaints
        complaints.append(f"{folder}: {problem}")
    return None, complaints


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        MmpretrainError: it does not verify; names the file.
    """
    problem = verify(folder)
    if problem:
        raise MmpretrainError(f"{folder}: {problem}; use another checkpoint of the run")
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    average = folder / "ema.safetensors"
    return Checkpoint(
        folder=folder,
        step=state["step"],
        config_digest=state["config_digest"],
        weights=load_tensors(folder / "weights.safetensors"),
        average=load_tensors(average) if average.exists() else {},
        moments=load_tensors(folder / "optimizer.safetensors"),
        optimizer_steps=state["optimizer_steps"],
    )


def prune(root: Path, keep: int) -> None:
    """Delete all but the newest `keep` (at least one) checkpoints, and what killed saves left behind."""
    for folder in list_checkpoints(root)[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob(f"step_*{TEMPORARY}"):
        shutil.rmtree(folder, ignore_errors=True)
