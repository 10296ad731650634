"""The small run that every engine repeats: the quickstart's towers on rows that are functions of their position."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import on_main, world
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.engines.base import Engine, OptimizerState, Options
from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.engines.single import Single
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.optim.optimizer import Optim
from mmpretrain.optim.schedule import Cosine
from mmpretrain.towers.image import TimmImage, measure_statistics
from mmpretrain.towers.model import Towers
from mmpretrain.towers.text import CausalText
from mmpretrain.train.step import StepResult, train_step

ROWS = 12
STEPS = 6
FIRST = 50_400
"""Position of the first row. Where a ReLU's input is within rounding of zero, a sum taken in another order puts it on
the other side, and the gradient norm jumps by 1e-4 to 3e-3: most rows have such a place within six steps. These leave
room: with every initial weight moved at random by half a unit in its last place, six times over, losses and norms
differ by 4.8e-7 at most."""
RATE = 3e-4
SAVED = 3
VOCABULARY = 512
CONTEXT = 32
EMA = 0.9
FROZEN = "model.text.embedding.token.weight"
LOG_SCALE = "objectives.0.log_scale"

ENGINES: dict[str, Any] = {
    "single": Single(precision="fp32"),
    "ddp": Ddp(precision="fp32"),
    "zero1": DeepSpeed(stage=1, precision="fp32", bucket_elements=1_000_000),
    "zero2": DeepSpeed(stage=2, precision="fp32", bucket_elements=1_000_000),
    "zero3": DeepSpeed(stage=3, precision="fp32", bucket_elements=1_000_000),
}
VARIANTS: dict[str, Any] = {
    "zero1_offloaded": replace(ENGINES["zero1"], offload="optimizer"),
    "zero2_offloaded": replace(ENGINES["zero2"], offload="optimizer"),
    # no parameter is whole on any rank, the temperature included
    "zero3_divided": replace(ENGINES["zero3"], persistence_threshold=0),
    "zero3_offloaded": replace(ENGINES["zero3"], offload="optimizer"),
    "zero3_all_offloaded": replace(ENGINES["zero3"], offload="parameters"),
}
"""Further settings; each goes on from what the engine of its first letters saved."""

KINDS = ("single", "ddp", "zero1", "zero2", "zero3")
DISTRIBUTED = KINDS[1:]


def build_module(
    seed: int = 0, frozen: bool = False, kind: type[TrainingModule] = TrainingModule, layers: int = 3
) -> TrainingModule:
    torch.manual_seed(seed)
    towers = Towers(
        image=TimmImage(name="test_resnet", size=64, norm="frozen"),
        text=CausalText(width=128, layers=layers, heads=2),
        embedding=256,
    )
    model = towers.build(VOCABULARY, CONTEXT)
    measure_statistics(model.image, [rows(range(FIRST + 10_000, FIRST + 10_024)).images_BCHW])
    model.text.embedding.token.weight.requires_grad_(not frozen)
    return kind(model, [Contrastive()])


def build_engine(settings: Any, module: TrainingModule, ema: float | None = None, device: str = "cpu") -> Engine:
    optim = Optim(schedule=Cosine(rate=RATE), clip_norm=1.0)
    options = Options(device=torch.device(device), clip_norm=optim.clip_norm, ema=ema)
    engine: Engine = settings.build(module, optim.build, options)
    return engine


def rows(positions: range) -> Batch:
    """A batch whose every row depends on its position alone; texts have different lengths."""
    colours = [torch.Generator().manual_seed(position + 999) for position in positions]
    words = [torch.Generator().manual_seed(position) for position in positions]
    lengths = torch.tensor([4 + position * 5 % (CONTEXT - 4) for position in positions])
    length = int(lengths.max())
    mask_BL = torch.arange(length) < lengths[:, None]
    tokens_BL = torch.stack([torch.randint(1, VOCABULARY, (CONTEXT,), generator=g) for g in words])
    # rows 1 and 8 of each step's 12 show the same picture: two positives, on two ranks
    image_groups = [position - 7 if position % ROWS == 8 else position for position in positions]
    return Batch(
        images_BCHW=torch.stack([torch.randint(0, 256, (3, 2, 2), dtype=torch.uint8, generator=g) for g in colours])
        .repeat_interleave(32, dim=2)
        .repeat_interleave(32, dim=3),
        tokens_BL=tokens_BL[:, :length] * mask_BL,
        mask_BL=mask_BL,
        positions_B=torch.tensor(list(positions)),
        image_group_B=torch.tensor(image_groups),
        text_group_B=torch.tensor(list(positions)) + 1_000_000,
        labels_B=torch.full((len(positions),), -1),
        keys=tuple(f"row {position}" for position in positions),
    )


def micro_batches(step: int, micros: int) -> list[Batch]:
    """This rank's rows of a step's global batch, in `micros` parts."""
    here = world()
    size = ROWS // (here.size * micros)
    starts = [FIRST + step * ROWS + (here.rank * micros + micro) * size for micro in range(micros)]
    return [rows(range(start, start + size)) for start in starts]


def run(engine: Engine, steps: range, micros: int = 1) -> list[dict[str, Any]]:
    """Train over `steps` and return what each said."""
    records = []
    for step in steps:
        engine.set_rate(Cosine(rate=RATE, warmup=2).at(step, STEPS + 2))
        records.append(record(train_step(engine, micro_batches(step, micros), seed=0)))
    return records


def record(result: StepResult) -> dict[str, Any]:
    """What is compared of a step."""
    return {**result.metrics, "norm": result.grad_norm, "applied": result.applied}


# -- state on disk ----------------------------------------------------------------------------------------


def save_state(engine: Engine, folder: Path) -> None:
    """What a checkpoint holds; every rank calls, the main one writes."""
    weights, average, state = engine.weights(), engine.weights(averaged=True), engine.optimizer_state()

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, tensors in (("weights", weights), ("average", average), ("moments", state.moments)):
            save_tensors(folder / f"{name}.safetensors", tensors)
        (folder / "steps.json").write_text(json.dumps(state.steps))

    on_main(write)


def read_state(folder: Path) -> tuple[dict[str, torch.Tensor], OptimizerState, dict[str, torch.Tensor]]:
    """Weights, optimizer state and average."""
    weights, average, moments = (load_tensors(folder / f"{n}.safetensors") for n in ("weights", "average", "moments"))
    return weights, OptimizerState(moments=moments, steps=json.loads((folder / "steps.json").read_text())), average


def load_state(engine: Engine, folder: Path) -> None:
    engine.load(*read_state(folder))


def save_weights(engine: Engine, folder: Path) -> None:
    """Weights and their average alone."""
    weights, average = engine.weights(), engine.weights(averaged=True)
    if world().is_main:
        folder.mkdir(parents=True)
        save_tensors(folder / "weights.safetensors", weights)
        save_tensors(folder / "average.safetensors", average)
