"""From settings to parts: the one place that knows how the pieces fit."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.counter import seed_torch
from mmpretrain.core.distributed import World, on_main, process_group
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import require_space
from mmpretrain.core.settings import did_you_mean, settings
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import evaluation_loader, training_loader
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.engines.base import Engine, Options
from mmpretrain.engines.build import EngineSettings, backend_of, device_of
from mmpretrain.engines.single import Single
from mmpretrain.evaluation.features import Embedder, SplitSource
from mmpretrain.evaluation.retrieval import Retrieval
from mmpretrain.evaluation.zero_shot import ZeroShot
from mmpretrain.objectives.combine import Objective, TrainingModule
from mmpretrain.optim.optimizer import Optim
from mmpretrain.towers.model import Towers
from mmpretrain.towers.norms import measure_statistics
from mmpretrain.train.loop import Train

EvaluatorSettings = Annotated[Retrieval | ZeroShot, Field(discriminator="kind")]
EVALUATION_ROWS = 256
STATISTICS_ROWS = 1024
"""Pictures that frozen BatchNorm is measured on."""


@settings
class RunSettings:
    """Where the run leaves its files."""

    folder: str
    """The run folder; an existing one is never overwritten."""


@settings
class Pretrain:
    """Everything that a pretraining run is; its keys are the packages of the project."""

    run: RunSettings
    data: Data
    towers: Towers
    objectives: Annotated[list[Objective], Field(min_length=1)]
    """What is learned; their weighted sum is minimised."""
    optim: Optim = field(default_factory=Optim)
    engine: EngineSettings = field(default_factory=Single)
    train: Train
    evaluation: list[EvaluatorSettings] = field(default_factory=list)
    """Run every train.evaluate_every steps and at the end."""

    def __post_init__(self) -> None:
        kinds = [objective.kind for objective in self.objectives]
        doubled = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if doubled:
            raise ValueError(f"objectives: {', '.join(doubled)} stands twice; set its weight instead")
        names = [part.name for part in self.data.parts]
        for place, objective in enumerate(self.objectives):
            for name in set(objective.sources) - set(names):
                raise ValueError(f"objectives.{place}.sources: {name!r} is no source{did_you_mean(name, names)}")
        if self.train.micro_batches > 1 and self.towers.image.norm == "batch":
            raise ValueError(
                "train.micro_batches: cached features need towers without batch statistics; use "
                "towers.image.norm=frozen or group, or train.micro_batches=1"
            )
        if self.optim.schedule.warmup >= self.train.steps:
            raise ValueError(
                f"optim.schedule.warmup: {self.optim.schedule.warmup} steps of warmup leave none of the "
                f"{self.train.steps} steps of train.steps; use less"
            )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a recipe works with on one rank."""

    config: Pretrain
    world: World
    device: torch.device
    data: TrainingData
    tokenizer: Tokenizer
    module: TrainingModule


@contextmanager
def joined_world(config: Pretrain) -> Iterator[World]:
    """The process group of the engine, or one process without any."""
    announced = World.from_environment()
    if config.engine.kind == "single":
        if announced.size > 1:
            raise ConfigError(
                f"engine.kind: single runs one process, {announced.size} were started; use engine.kind=ddp"
            )
        with nullcontext(World()) as world:
            yield world
        return
    with process_group(backend_of(device_of(announced)), config.engine.timeout_seconds) as world:
        yield world


def build_parts(config: Pretrain, world: World, tokenizer: Tokenizer | None = None) -> Parts:
    """Data, tokenizer and module, with the same initial weights on every rank and under every engine.

    Args:
        tokenizer: the one of a checkpoint; None builds the config's.
    """
    # indexes on first use are made once, not by every rank; so are checks of whole shards and a learned vocabulary
    on_main(lambda: len(TrainingData(config.data)))
    data = TrainingData(replace(config.data, verify=False))
    towers = config.towers
    if tokenizer is not None:
        # the checkpoint brings all weights; the file that the run began with may be gone
        towers = replace(towers, image=replace(towers.image, weights=None))
    else:
        learned = on_main(lambda: config.data.tokenizer.build(data.captions()).to_json())
        tokenizer = Tokenizer.from_json(learned, config.data.tokenizer.context_length)
    seed_torch(config.train.seed)
    model = towers.build(tokenizer.vocabulary, tokenizer.context_length)
    names = [part.name for part in config.data.parts]
    module = TrainingModule(model, [objective.build(names) for objective in config.objectives])
    return Parts(config=config, world=world, device=device_of(world), data=data, tokenizer=tokenizer, module=module)


def open_split(parts: Parts, name: str) -> Dataset:
    """The split that an evaluator names: SPLIT of the (first) training dataset, or NAME:SPLIT of any."""
    data = parts.config.data
    dataset, _, split = name.rpartition(":")
    name = dataset or data.parts[0].name
    # indexes on first use: made once, not by every rank
    on_main(lambda: len(Dataset(name, split, data.verify, storage=data.storage)))
    return Dataset(name, split, storage=data.storage)


def measure_norms(parts: Parts) -> None:
    """Before the first step, give frozen BatchNorm the statistics of the first positions' pictures.

    Statistics that came with a weights file stay: they belong to those weights.
    """
    image = parts.module.model.image
    if not image.needs_statistics():
        return
    config = parts.config
    # always as one process sees them: the statistics must not depend on how many ranks there are
    data = TrainingData(replace(config.data, verify=False, batch=min(STATISTICS_ROWS, len(parts.data)), workers=0))
    batches = training_loader(data, parts.tokenizer, config.towers.image.size, World(), 1, 0)
    measure_statistics(image, [batch.images_BCHW for batch in next(batches)])


def require_space_for_checkpoints(parts: Parts) -> int:
    """Refuse a run whose checkpoints the disk cannot hold; returns the bytes of one.

    Raises:
        MmpretrainError: too little is free where the run folder is or will be.
    """
    config = parts.config
    # fp32 weights and AdamW's two moments, and the average where the run keeps one
    copies = 4 if config.optim.ema else 3
    size = copies * 4 * sum(parameter.numel() for parameter in parts.module.parameters())
    # those that stay, and the one being written
    require_space(Path(config.run.folder), size * (config.train.keep_last + 1), "the checkpoints of this run")
    return size


def training_batches(parts: Parts, start: int) -> Iterator[list[Batch]]:
    """This rank's micro-batches of every step from `start` on."""
    config = parts.config
    return training_loader(
        parts.data,
        parts.tokenizer,
        config.towers.image.size,
        parts.world,
        config.train.micro_batches,
        start,
    )


def build_engine(parts: Parts) -> Engine:
    """The config's engine around the module."""
    optim = parts.config.optim
    options = Options(device=parts.device, clip_norm=optim.clip_norm, ema=optim.ema)
    return parts.config.engine.build(parts.module, optim.build, options)


def embedder(parts: Parts, engine: Engine, datasets: dict[str, Dataset]) -> Embedder:
    """The engine's model as evaluators see it; use it inside `engine.evaluating()`."""
    size = parts.config.towers.image.size

    def source(name: str, dataset: Dataset) -> SplitSource:
        return SplitSource(
            dataset=dataset.folder.name,
            split=dataset.split,
            length=len(dataset),
            batches=lambda: evaluation_loader(
                dataset, parts.tokenizer, size, parts.world, EVALUATION_ROWS, limits=parts.config.data.limits
            ),
            classes=dataset.card.classes,
            sentences=dataset.card.sentences(),
        )

    def embed(batch: Batch) -> Features:
        features: Features = engine.forward("embed", batch)
        return features

    sources = {name: source(name, dataset) for name, dataset in datasets.items()}
    return Embedder(embed, parts.tokenizer, sources, size, parts.device)
