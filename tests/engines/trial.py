"""One small run that every engine repeats: the quickstart's towers on rows that are functions of their position."""

from collections.abc import Iterator
from typing import Any

import torch

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import world
from mmpretrain.engines.base import Engine, Options
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
SAVED = 3
VOCABULARY = 512
CONTEXT = 32
EMA = 0.9
FROZEN = "model.text.token_embedding.weight"
SCALE = "objectives.0.log_scale"

ENGINES: dict[str, Any] = {
    "single": Single(precision="fp32"),
    "ddp": Ddp(precision="fp32"),
    "zero1": DeepSpeed(stage=1, precision="fp32", bucket_elements=10_000_000),
    "zero2": DeepSpeed(stage=2, precision="fp32", bucket_elements=10_000_000),
    "zero3": DeepSpeed(stage=3, precision="fp32", bucket_elements=10_000_000),
    # every parameter divided, temperature included
    "zero3_divided": DeepSpeed(stage=3, precision="fp32", bucket_elements=10_000_000, persistence_threshold=0),
}


def build_module(seed: int = 0, frozen: bool = False, kind: type[TrainingModule] = TrainingModule) -> TrainingModule:
    torch.manual_seed(seed)
    towers = Towers(
        image=TimmImage(name="resnet10t", size=64, norm="frozen"),
        text=CausalText(width=128, layers=3, heads=2),
        embedding=256,
    )
    model = towers.build(VOCABULARY, CONTEXT)
    measure_statistics(model.image, [rows(range(10_000, 10_024)).images_BCHW])
    model.text.token_embedding.weight.requires_grad_(not frozen)
    return kind(model, [Contrastive().build()])


def build_engine(settings: Any, module: TrainingModule, ema: float | None = None) -> Engine:
    optim = Optim(schedule=Cosine(rate=1e-3), clip_norm=1.0)
    engine: Engine = settings.build(
        module, optim.build, Options(device=torch.device("cpu"), clip_norm=optim.clip_norm, ema=ema)
    )
    return engine


def rows(positions: range) -> Batch:
    """A batch whose every row depends on its position alone; texts have different lengths."""
    generators = [torch.Generator().manual_seed(position) for position in positions]
    lengths = torch.tensor([4 + position * 5 % (CONTEXT - 4) for position in positions])
    length = int(lengths.max())
    mask_BL = torch.arange(length) < lengths[:, None]
    tokens_BL = torch.stack([torch.randint(1, VOCABULARY, (CONTEXT,), generator=g) for g in generators])
    # rows 1 and 8 of each step's 12 show the same picture: two positives, on two ranks
    image_groups = [position - 7 if position % ROWS == 8 else position for position in positions]
    return Batch(
        images_BCHW=torch.stack(
            [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=g) for g in generators]
        ),
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
    starts = [step * ROWS + (here.rank * micros + micro) * size for micro in range(micros)]
    return [rows(range(start, start + size)) for start in starts]


def run(engine: Engine, steps: range, micros: int = 1) -> list[dict[str, Any]]:
    """Train over `steps` and return what each said."""
    return [record(result) for _, result in running(engine, steps, micros)]


def running(engine: Engine, steps: range, micros: int = 1) -> Iterator[tuple[int, StepResult]]:
    for step in steps:
        engine.set_rate(Cosine(rate=1e-3, warmup=2).at(step, STEPS + 2))
        yield step, train_step(engine, micro_batches(step, micros), seed=0)


def record(result: StepResult) -> dict[str, Any]:
    return {**result.metrics, "norm": result.grad_norm, "applied": result.applied}
