"""The same batch cut over ranks and micro-batches: how far each cut's gradient is from the whole batch's."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmpretrain.conformance.toy import NEGATIVES_WITHIN, part_of, toy_batch, toy_module
from mmpretrain.core.distributed import on_main, process_group, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import build, settings
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.engines.base import Options
from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.single import Single
from mmpretrain.objectives.combine import ObjectiveSettings, TrainingModule
from mmpretrain.train.step import train_step

TOLERANCE = 1e-10
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cut of one objective."""

    objective: str
    engine: str
    world_size: int
    accumulation: int
    max_rel_diff: float
    """Largest distance of a parameter's gradient from the whole batch's, over the norm of that; or of the loss."""
    ok: bool


def gradients(module: TrainingModule, micros: int) -> dict[str, Tensor]:
    """Loss and gradients of one step over the toy batch, through the engine and the step of a real run."""
    here = world()
    settings: Any = Ddp(precision="fp32") if here.size > 1 else Single(precision="fp32")
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    # a plain step of length 1 moves each weight by its gradient
    engine = settings.build(
        module,
        lambda built: torch.optim.SGD([p for p in built.parameters() if p.requires_grad], lr=1.0),
        Options(device=torch.device("cpu"), clip_norm=None, ema=None),
    )
    parts = [part_of(toy_batch(), micro, here.rank, here.size, micros) for micro in range(micros)]
    result = train_step(engine, parts, seed=0)
    moved = {name: before[name] - parameter.detach() for name, parameter in module.named_parameters()}
    return {**moved, "loss": torch.tensor([result.metrics["loss"]], dtype=torch.float64)}


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest relative distance; infinite where a gradient is missing or not finite."""
    if found.keys() != expected.keys():
        return float("inf")
    scale = max(float(gradient.norm()) for name, gradient in expected.items() if name != "loss")
    parts = [
        # a gradient that is zero by its nature has only the rounding of the others
        float((found[name] - gradient).norm() / max(float(gradient.norm()), 1e-6 * scale))
        for name, gradient in expected.items()
    ]
    return max(part if part == part else float("inf") for part in parts)


def check(
    mixes: dict[str, Sequence[dict[str, Any]]], world_sizes: Sequence[int], accumulations: Sequence[int]
) -> list[Row]:
    """Every mix of objectives under every cut.

    Args:
        mixes: by name, the settings of objectives as in a config.

    Raises:
        MmpretrainError: a process failed; holds the end of what it said.
    """
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "mixes.json").write_text(json.dumps(mixes))
        for ranks in dict.fromkeys([1, *world_sizes]):
            run_ranks(place, ranks, sorted({1, *accumulations}))
        for name in mixes:
            whole = load_tensors(place / f"{name}-1-1.safetensors")
            for ranks in world_sizes:
                for micros in accumulations:
                    far = distance(load_tensors(place / f"{name}-{ranks}-{micros}.safetensors"), whole)
                    found.append(
                        Row(
                            objective=name,
                            engine="ddp" if ranks > 1 else "single",
                            world_size=ranks,
                            accumulation=micros,
                            max_rel_diff=far,
                            ok=far <= TOLERANCE,
                        )
                    )
    return found


def run_ranks(folder: Path, ranks: int, accumulations: Sequence[int]) -> None:
    """All mixes on `ranks` processes; they leave their gradients in the folder.

    Raises:
        MmpretrainError: one failed or did not end.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    cuts = ",".join(map(str, accumulations))
    command = [sys.executable, *launcher, "-m", "mmpretrain.conformance.cuts", str(folder), cuts]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise MmpretrainError(f"conformance: {ranks} ranks did not end in {TIMEOUT_SECONDS:g} s") from error
    if done.returncode:
        raise MmpretrainError(f"conformance: {ranks} ranks failed: {done.stderr.strip()[-2000:]}")


def work(folder: Path, accumulations: Sequence[int]) -> None:
    """What one rank does."""
    torch.set_num_threads(1)
    mixes = json.loads((folder / "mixes.json").read_text())
    for name, trees in mixes.items():
        for micros in accumulations:
            module = toy_module([build_objective(tree) for tree in trees])
            found = gradients(module, micros)
            on_main(partial(save_tensors, folder / f"{name}-{world().size}-{micros}.safetensors", found))


def build_objective(tree: dict[str, Any]) -> Any:
    """The settings of one objective, with groups for negatives that every cut of the toy batch leaves whole."""
    found: Any = build(Wanted, {"objective": tree}).objective
    return replace(found, negatives_within=NEGATIVES_WITHIN) if hasattr(found, "negatives_within") else found


@settings
class Wanted:
    """One objective."""

    objective: ObjectiveSettings


def main(folder: str, accumulations: str) -> None:
    cuts = [int(micros) for micros in accumulations.split(",")]
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        work(Path(folder), cuts)
        return
    with process_group("gloo", 60):
        work(Path(folder), cuts)


if __name__ == "__main__":
    main(*sys.argv[1:])
