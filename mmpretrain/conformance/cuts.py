"""The same batch cut over ranks and micro-batches: how far each cut's gradient is from the whole batch's."""

import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmpretrain.conformance.toy import NEGATIVES_WITHIN, How, part_of, shallow, toy_batch, toy_module
from mmpretrain.core.distributed import on_main, process_group, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import build, settings
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.engines.base import Options
from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.engines.single import Single
from mmpretrain.heads.build import LearnerSettings
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.towers.model import LOOKS_AT_PICTURES
from mmpretrain.train.step import train_step

TOLERANCE = {"single": 1e-10, "ddp": 1e-10, "zero1": 1e-6, "zero2": 1e-6, "zero3": 1e-6}
"""Relative: fp64 gradients of every parameter; for DeepSpeed, which has no fp64, loss and gradient norm in fp32."""
TIMEOUT_SECONDS = 600.0
LOSS = "loss"

Tree = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One way to take a step over the toy batch."""

    objective: str
    """Name of the mix."""
    engine: str
    world_size: int
    accumulation: int
    chunk: int | None
    """Rows and columns of a tile of the pair losses; None where the mix has none."""
    dropout: float
    towers: How = "plain"

    @property
    def file(self) -> str:
        parts = (self.objective, self.engine, self.world_size, self.accumulation, self.chunk, self.dropout, self.towers)
        return "-".join(map(str, parts)) + ".safetensors"

    @property
    def reference(self) -> "Cut":
        """One process; with dropout its micro-batches are those of all ranks, so that they draw the same."""
        micros = self.world_size * self.accumulation if self.dropout else 1
        engine = "single" if TOLERANCE[self.engine] < 1e-8 else "single32"
        towers: How = "frozen" if self.towers == "frozen" else "plain"
        return replace(
            self, engine=engine, world_size=1, accumulation=micros, chunk=self.chunk and WHOLE, towers=towers
        )


WHOLE = 1024
"""A tile that holds the toy batch."""


@dataclass(frozen=True, kw_only=True)
class Row(Cut):
    """What became of a cut."""

    max_rel_diff: float
    """Largest distance of a parameter's gradient, or of the loss, from the reference's, over the norm of that."""
    ok: bool


def check(mixes: dict[str, list[Tree]], cuts: Sequence[Cut]) -> list[Row]:
    """Take every cut, and its reference, and compare.

    Args:
        mixes: by name, the settings of objectives as in a config.

    Raises:
        MmpretrainError: a process failed; holds the end of what it said.
    """
    wanted = list(dict.fromkeys([*cuts, *(cut.reference for cut in cuts)]))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for ranks, chosen in itertools.groupby(sorted(wanted, key=_ranks), key=_ranks):
            task = {"mixes": mixes, "cuts": [asdict(cut) for cut in chosen]}
            (place / "task.json").write_text(json.dumps(task))
            run_ranks(place, ranks)
        return [_compare(place, cut) for cut in cuts]


def _ranks(cut: Cut) -> int:
    return cut.world_size


def _compare(folder: Path, cut: Cut) -> Row:
    far = distance(load_tensors(folder / cut.file), load_tensors(folder / cut.reference.file))
    return Row(**asdict(cut), max_rel_diff=far, ok=far <= TOLERANCE[cut.engine])


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest relative distance; infinite where a gradient is missing or not finite."""
    if found.keys() != expected.keys():
        return math.inf
    largest = max((float(value.norm()) for name, value in expected.items() if name != LOSS), default=0.0)
    parts = [
        # a gradient that is zero by its nature has only the rounding of the others
        float((found[name] - value).norm()) / max(float(value.norm()), 1e-6 * largest)
        for name, value in expected.items()
    ]
    return math.inf if any(math.isnan(part) for part in parts) else max(parts)


# -- processes --------------------------------------------------------------------------------------------


def run_ranks(folder: Path, ranks: int) -> None:
    """Do the folder's task on `ranks` processes; they leave their gradients in it.

    Raises:
        MmpretrainError: one failed or did not end.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "mmpretrain.conformance.cuts", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise MmpretrainError(f"conformance: {ranks} ranks did not end in {TIMEOUT_SECONDS:g} s") from error
    if done.returncode:
        raise MmpretrainError(f"conformance: {ranks} ranks failed: {done.stderr.strip()[-2000:]}")


def work(folder: Path) -> None:
    """What one rank does."""
    torch.set_num_threads(1)
    task = json.loads((folder / "task.json").read_text())
    for cut in (Cut(**tree) for tree in task["cuts"]):
        objectives = [build_objective(tree, cut.chunk) for tree in task["mixes"][cut.objective]]
        found = take(cut, toy_module(objectives, cut.dropout, how=cut.towers))
        on_main(partial(save_tensors, folder / cut.file, found))


@settings
class Wanted:
    """One objective, as a config has it."""

    objective: LearnerSettings


def build_objective(tree: Tree, chunk: int | None) -> Any:
    """Its settings, with groups of negatives that every cut leaves whole, layers of toy towers, and the cut's tiles."""
    found: Any = build(Wanted, {"objective": tree}).objective
    if hasattr(found, "negatives_within"):
        found = replace(found, negatives_within=NEGATIVES_WITHIN)
    if isinstance(found, TextDistillation):
        found = shallow(found)
    return replace(found, tile=chunk) if hasattr(found, "tile") and chunk else found


def take(cut: Cut, module: TrainingModule) -> dict[str, Tensor]:
    """One step through the engine and the step of a real run: loss and gradients, or for fp32 loss and their norm."""
    precise = cut.engine in ("single", "ddp")
    module = module if precise else module.float()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    # a plain step of length 1 moves each weight by its gradient
    engine = ENGINES[cut.engine].build(
        module,
        lambda built: torch.optim.SGD([p for p in built.parameters() if p.requires_grad], lr=float(precise)),
        Options(device=torch.device("cpu"), clip_norm=None, ema=None),
    )
    here = world()
    parts = [part_of(toy_batch(), micro, here.rank, here.size, cut.accumulation) for micro in range(cut.accumulation)]
    result = train_step(engine, parts, seed=0)
    loss = {LOSS: torch.tensor([result.metrics["loss"]], dtype=torch.float64)}
    if not precise:
        return {**loss, "norm": torch.tensor([result.grad_norm], dtype=torch.float64)}
    return {**loss, **{name: before[name] - parameter.detach() for name, parameter in module.named_parameters()}}


ENGINES: dict[str, Any] = {
    "single": Single(precision="fp32"),
    "single32": Single(precision="fp32"),
    "ddp": Ddp(precision="fp32"),
    **{f"zero{stage}": DeepSpeed(stage=stage, precision="fp32", bucket_elements=1_000_000) for stage in (1, 2, 3)},
}


def all_cuts(
    mixes: dict[str, list[Tree]], ranks: Sequence[int], accumulations: Sequence[int], engines: Sequence[str]
) -> Iterator[Cut]:
    """Every mix under every number of ranks and micro-batches; tiles and dropout where several micro-batches meet.

    With two ranks (one, where two are not asked for) and most micro-batches, also with activations computed again and
    with frozen blocks.
    """
    several, most = 2 if 2 in ranks else max(ranks), max(accumulations)
    for name, trees in mixes.items():
        objectives = [build_objective(tree, None) for tree in trees]
        tiled = any(hasattr(each, "tile") for each in objectives)
        pictures = bool(needs_of(objectives) & LOOKS_AT_PICTURES)
        for size, micros in itertools.product(ranks, accumulations):
            whole = WHOLE if tiled else None
            for engine in ["single"] if size == 1 else engines:
                cut = Cut(objective=name, engine=engine, world_size=size, accumulation=micros, chunk=whole, dropout=0.0)
                yield cut
                if engine in ("single", "ddp") and size * micros > 1:
                    yield replace(cut, chunk=whole and 3, dropout=0.1)
                if (size, micros) == (several, most):
                    yield replace(cut, towers="checkpointed")
                    if pictures:
                        yield replace(cut, towers="frozen")


def main(folder: str) -> None:
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        work(Path(folder))
        return
    with process_group("gloo", 120):
        work(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
