"""A run between where it started and where it ended (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903)."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import to_yaml
from mmpretrain.engines.base import OptimizerState, module_shapes
from mmpretrain.recipes.assemble import build_parts, measure_norms
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.recipes.starts.origin import Origin, find_origin
from mmpretrain.recipes.starts.start import Start, kept_start
from mmpretrain.recipes.starts.taken import run_of
from mmpretrain.train import checkpoint

COPIED = ("env.json", "data.json", "model.json")
GIVEN = ("format", "step", "ranks", "date", "optimizer_steps", "loss_scale", "average")
"""Entries of state.json that writing a checkpoint sets by itself."""


def mix(folder: Path, share: float, out: Path, console: Console) -> dict[str, Any]:
    """Write a run whose weights are (1 - share) * start + share * end; 0 is the start, 1 the run itself.

    Args:
        folder: a run that started from another (`init`).

    Raises:
        ConfigError: it did not, its start is gone, or there is something at `out`.
    """
    config = read_run(folder)
    if out.exists():
        raise ConfigError(f"--out: {out} exists; name another folder")
    found = checkpoint.load(chosen_checkpoint(folder))
    kept = kept_start(found.folder)
    if config.init is None:
        began = f"began with the weights of {kept.origin}" if kept.origin else "started from scratch"
        raise ConfigError(f"{folder}: {began}; only a run with init=RUN has a start to mix with")
    mixed = between(start_of(config, origin_of(folder, config.init, kept)), found.average or found.weights, share)
    place = Run(out)
    place.create(to_yaml(replace(config, run=replace(config.run, folder=str(out)))))
    for name in COPIED:
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in found.folder.iterdir() if is_text(file)}
    taken = checkpoint.Snapshot(
        step=found.step,
        weights=mixed,
        average={},
        optimizer=OptimizerState(moments=found.moments, steps=found.optimizer_steps),
        state={"format": checkpoint.FORMAT, "step": found.step, "ranks": 1, **kept_state(found)},
        texts=texts,
    )
    checkpoint.write(place.checkpoints, taken)
    write_atomic(place.complete, f"{found.step}\n")
    console.print(f"{out}: {share:g} of {folder}, the rest of {config.init}; next: mmpretrain evaluate {out} ...")
    return {"run": str(out), "share": share, "of": str(folder), "start": config.init, "step": found.step}


def origin_of(folder: Path, init: str, kept: Start) -> Origin:
    """What a run began with; of a run that has gone on since, the checkpoint of then.

    Raises:
        ConfigError: it has other weights by now, and those of then are gone.
    """
    found = find_origin(init)
    if kept.origin_digest in ("", found.digest()):  # earlier versions kept none
        return found
    if kept.origin_step is None or found.step is None:
        raise ConfigError(f"init: {init} has other weights than when {folder} began; restore them")
    checkpoints = run_of(init) / "checkpoints"
    then = checkpoints / f"step_{kept.origin_step:08d}"
    if checkpoint.verify(then) is None and (began := find_origin(str(then))).digest() == kept.origin_digest:
        return began
    raise ConfigError(
        f"init: {init} changed since {folder} began with its step {kept.origin_step}, and {then} is gone; "
        f"restore it, or fine-tune anew with init={checkpoints}/step_{found.step:08d}"
    )


def start_of(config: Pretrain, origin: Origin) -> dict[str, Tensor]:
    """The weights that a run began with: a function of its config and of what it starts from."""
    parts = build_parts(config, World(), origin=origin, trains=False)
    measure_norms(parts)
    state = parts.module.state_dict()
    return {name: state[name].clone() for name in module_shapes(parts.module)}


def between(start: dict[str, Tensor], end: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Each weight on the line from start to end; of a low-rank change the factor that began at zero is scaled."""
    mixed = {}
    for name, tensor in end.items():
        is_line = tensor.is_floating_point() and not name.endswith(".down_RI")
        mixed[name] = (1 - share) * start[name] + share * tensor if is_line else tensor
    return mixed


def is_text(file: Path) -> bool:
    return file.suffix in (".json", ".yaml") and file.name not in ("state.json", checkpoint.MANIFEST)


def kept_state(found: checkpoint.Checkpoint) -> dict[str, Any]:
    return {name: value for name, value in found.state.items() if name not in GIVEN}
