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
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmpretrain.core.distributed import world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.fault_points import reach
from mmpretrain.core.files import TEMPORARY, folder_in_one_step, sha256, write_atomic
from mmpretrain.core.phases import progress
from mmpretrain.core.run import list_checkpoints, step_of
from mmpretrain.core.stream import stream_tensors
from mmpretrain.core.weights import Copies, load_tensors

FORMAT = "mmpretrain-checkpoint-1"
MANIFEST = "manifest.json"
LATEST = "latest"
AVERAGE = "ema.safetensors"
FILES = ("weights.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json", "config.yaml", "data.json")
STATE = ("format", "step", "ranks", "position", "config_digest", "optimizer_steps", "loss_scale", "average", "guards")
"""What the first format has held from its first release on; see tests/train/golden."""
ASIDE = ".aside"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a folder holds, read and verified."""

    folder: Path
    step: int
    config_digest: str
    state: dict[str, Any]
    """All of state.json."""
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, Tensor]
    optimizer_steps: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a checkpoint will hold: copies, which the next steps do not change. Empty off the main rank."""

    step: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: Any
    """`moments`, `steps` and `loss_scale`, as engines.base has them."""
    state: dict[str, Any]
    """Further entries of state.json."""
    texts: Mapping[str, str]
    """Further small files by name."""


def take(
    engine: Any, step: int, state: dict[str, Any], texts: Mapping[str, str], copies: Copies | None = None
) -> Snapshot:
    """Copy what the engine holds; every rank calls.

    Args:
        state: what else to go on from, such as the position and the config digest.
        copies: memory of the snapshot before, which is gone then; None: new.
    """
    return Snapshot(
        step=step,
        weights=engine.weights(copies=copies),
        average=engine.weights(averaged=True, copies=copies),
        optimizer=engine.optimizer_state(copies),
        state={"format": FORMAT, "step": step, "ranks": world().size, **state},
        texts=texts,
    )


def write(root: Path, taken: Snapshot) -> Path:
    """Write a checkpoint whole, or not at all; the main rank calls.

    Args:
        root: the run's checkpoints folder.

    Raises:
        OSError: the disk is full or gone; what was there before stays.
    """
    folder = root / f"step_{taken.step:08d}"
    if verify(folder) is None:
        return folder  # a step has one state
    shutil.rmtree(folder, ignore_errors=True)  # one that was damaged, or not there
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    state = {
        **taken.state,
        "date": date,
        "optimizer_steps": taken.optimizer.steps,
        "loss_scale": taken.optimizer.loss_scale,
        "average": bool(taken.average),
    }
    tensors = {"weights.safetensors": taken.weights, "optimizer.safetensors": taken.optimizer.moments}
    if taken.average:
        tensors[AVERAGE] = taken.average
    digests = {}
    with folder_in_one_step(folder) as temporary:
        for name, held in tensors.items():
            digests[name] = stream_tensors(temporary / name, held)
            progress.tick()
            reach("save.file")
        for name, text in {**taken.texts, "state.json": json.dumps(state, indent=1)}.items():
            (temporary / name).write_text(text, encoding="utf-8")
        reach("save.manifest")
        _write_manifest(temporary, digests)
        reach("save.rename")
    reach("save.latest")
    write_atomic(root / LATEST, folder.name)
    return folder


def _write_manifest(folder: Path, digests: Mapping[str, str]) -> None:
    """Args: digests: of the files whose content is known without reading it again."""
    files = {}
    for file in sorted(folder.iterdir()):
        files[file.name] = {"bytes": file.stat().st_size, "sha256": digests.get(file.name) or sha256(file)}
        progress.tick()
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1), encoding="utf-8")


def verify(folder: Path) -> str | None:
    """None when every file is there, and as the manifest says, else what is wrong."""
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
    return _lacking(folder)


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
        MmpretrainError: it does not verify, or lacks something; names the file.
    """
    problem = verify(folder)
    if problem:
        raise MmpretrainError(f"{folder}: {problem}; use another checkpoint of the run")
    state = _read_state(folder)
    average = folder / AVERAGE
    return Checkpoint(
        folder=folder,
        step=state["step"],
        config_digest=state["config_digest"],
        state=state,
        weights=load_tensors(folder / "weights.safetensors"),
        average=load_tensors(average) if average.exists() else {},
        moments=load_tensors(folder / "optimizer.safetensors"),
        optimizer_steps=state["optimizer_steps"],
    )


def _lacking(folder: Path) -> str | None:
    """What a whole checkpoint has and this one has not."""
    for name in FILES:
        if not (folder / name).is_file():
            return f"{name} is missing"
    state = _read_state(folder)
    missing = [name for name in STATE if name not in state]
    if missing:
        return f"state.json lacks {', '.join(missing)}"
    if state["average"] and not (folder / AVERAGE).is_file():
        return f"{AVERAGE} is missing"
    return None


def _read_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state


def put_aside(root: Path, step: int) -> list[Path]:
    """Take the names of checkpoints after `step` away, so that a run that goes back does not meet them again.

    The next pruning deletes them.
    """
    moved = []
    for folder in list_checkpoints(root):
        if step_of(folder) > step:
            shutil.rmtree(folder.with_name(f"{folder.name}{ASIDE}"), ignore_errors=True)
            moved.append(folder.rename(folder.with_name(f"{folder.name}{ASIDE}")))
    return moved


def prune(root: Path, keep: int, also: Collection[int] = (), written: Path | None = None) -> list[Path]:
    """Delete all but the newest `keep` (at least one) checkpoints, and what killed saves left behind.

    Nothing is deleted while the newest does not verify.

    Args:
        also: steps that stay.
        written: one that has just been written whole, and is not read again for this.
    """
    found = list_checkpoints(root)
    if not found or (found[-1] != written and verify(found[-1]) is not None):
        return []
    old = [folder for folder in found[: -max(keep, 1)] if step_of(folder) not in also]
    left = [*root.glob(f"step_*{TEMPORARY}"), *root.glob(f"step_*{ASIDE}")]
    for folder in [*old, *left]:
        reach("save.prune")
        shutil.rmtree(folder, ignore_errors=True)
    return old
