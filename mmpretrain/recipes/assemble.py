"""From settings to parts: the one place that knows how the pieces fit."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.counter import seed_torch
from mmpretrain.core.distributed import World, gather_objects, on_all, on_main, process_group
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import require_space
from mmpretrain.core.memory import keep_freed_memory
from mmpretrain.core.run import Run, list_checkpoints
from mmpretrain.data.card import parse_name
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.labels import Labels
from mmpretrain.data.loader import training_loader
from mmpretrain.data.stages import Beside
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.engines.base import Engine, Options
from mmpretrain.engines.build import backend_of, device_of
from mmpretrain.heads.adaptation import Rates
from mmpretrain.heads.classification import Classification
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.objectives.text_teacher import TextTeacher
from mmpretrain.objectives.views import VIEWS
from mmpretrain.recipes.combinations import refuse_cut, refuse_data, refuse_ranks
from mmpretrain.recipes.datasets.index import index_on_first_use
from mmpretrain.recipes.labels import labels_of, own_datasets, refuse_other_labels
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.recipes.starts.origin import Origin
from mmpretrain.recipes.starts.start import Start, begin_zero_shot, kept_start, start_from, with_files, with_teachers
from mmpretrain.recipes.teachers.text import text_teacher_of
from mmpretrain.towers.norms import measure_statistics

EVALUATION_ROWS = 256
EVALUATION_PIXELS = 2**20
"""Of a batch: with larger ones the system takes longer to hand out memory for what towers compute than they take."""
READ_AT_A_TIME = 1_000
"""Captions that are tokenized at a time."""
STATISTICS_ROWS = 1024
"""Pictures that frozen BatchNorm is measured on."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a recipe works with on one rank."""

    config: Pretrain
    world: World
    device: torch.device
    data: TrainingData
    tokenizer: Tokenizer
    module: TrainingModule
    labels: dict[str, Labels]
    """What heads learn from, by their names."""
    start: Start
    """Which weights began with others than random ones."""
    rates: Rates
    """Of weights that do not learn as the schedule says."""
    text_teacher: TextTeacher | None = None
    """Where an objective learns from one, and the run trains."""


@contextmanager
def joined_world(config: Pretrain) -> Iterator[World]:
    """The process group of the engine, or one process without any."""
    announced = World.from_environment()
    refuse_ranks(config.engine, announced.size)
    if config.engine.kind == "single":
        with nullcontext(World()) as world:
            yield world
        return
    with process_group(backend_of(device_of(announced)), config.engine.timeout_seconds) as world:
        yield world


def build_parts(
    config: Pretrain, world: World, restored: Path | None = None, origin: Origin | None = None, trains: bool = True
) -> Parts:
    """Data, tokenizer and module, with the same initial weights on every rank and under every engine.

    Args:
        restored: checkpoint of this run whose weights will be loaded afterwards.
        origin: whose weights a new run starts from.
        trains: False leaves out what only training needs, a teacher that may be gone.
    """
    # indexes on first use are made once, not by every rank; so are checks of whole shards and a learned vocabulary
    on_main(lambda: len(TrainingData(config.data)))
    data = on_all(lambda: TrainingData(replace(config.data, verify=False)))
    refuse_other_copies(data)
    refuse_data(config.objectives, data)
    if trains:
        refuse_cut(config.objectives, config.data.batch, world.size, config.train.micros(world.size))
    tokenizer = tokenizer_of(config, data, restored, origin)
    teacher = text_teacher_of(config.objectives, tokenizer) if trains else None
    seen_S = seen_words(config.objectives, data, tokenizer)
    labels = labels_of(config.objectives, data)
    if restored is not None:
        refuse_other_labels(restored, labels)
    towers = config.towers if restored is None else config.towers.without_files()
    module = build_module(replace(config, towers=towers), tokenizer, seen_S, labels, teacher)
    start = kept_start(restored) if restored is not None else begin(origin, module, config, data, labels)
    return Parts(
        config=config,
        world=world,
        device=device_of(world),
        data=data,
        tokenizer=tokenizer,
        module=module,
        labels=labels,
        start=start,
        rates=adapt(config, module, start),
        text_teacher=teacher,
    )


def tokenizer_of(config: Pretrain, data: TrainingData, restored: Path | None, origin: Origin | None) -> Tokenizer:
    """The checkpoint's, or that of what the run starts from, or one that is built from the config."""
    length = config.data.tokenizer.context_length
    if restored is not None:
        return load_tokenizer(restored / "tokenizer.json", length)
    if origin is not None:
        return Tokenizer.from_json(origin.tokenizer().to_json(), length)
    return Tokenizer.from_json(on_main(lambda: config.data.tokenizer.build(data.captions()).to_json()), length)


def begin(
    origin: Origin | None, module: TrainingModule, config: Pretrain, data: TrainingData, labels: dict[str, Labels]
) -> Start:
    """The weights of a new run that are not random, in their places.

    Raises:
        ConfigError: a head is to begin as zero-shot classification, and there is no run to begin from, or no one class
            to find.
    """
    start = start_from(origin, module) if origin else Start()
    for place, (head, learner) in enumerate(zip(config.objectives, module.objectives, strict=True)):
        if isinstance(head, Classification) and head.start == "zero_shot":
            setting = f"objectives.{place}.start: zero_shot"
            if origin is None:
                raise ConfigError(f"{setting} begins from a run's text tower; give init=RUN")
            if labels[head.called].several:
                raise ConfigError(f"{setting} finds one class a picture, and the card gives it several; use random")
            sentences = own_datasets(head, data)[0].card.sentences()
            begin_zero_shot(origin, learner, sentences)  # type: ignore[arg-type]
    return with_teachers(with_files(start, module, config), module, config)


def adapt(config: Pretrain, module: TrainingModule, start: Start) -> Rates:
    """Freeze, slow down or add what the config's adaptation says.

    Raises:
        ConfigError: nothing is left that learns.
    """
    rates = config.adaptation.apply(module, start.started)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError(
            f"adaptation: {config.adaptation.kind} leaves nothing to learn; add a head, or use last_k or lora"
        )
    return rates


def build_module(
    config: Pretrain,
    tokenizer: Tokenizer,
    seen_S: Tensor | None,
    labels: dict[str, Labels],
    teacher: TextTeacher | None = None,
) -> TrainingModule:
    """Towers and objectives, always with the same initial weights.

    Args:
        seen_S: see `seen_words`.
        labels: see `recipes/labels.py`.
    """
    seed_torch(config.train.seed)
    needs = needs_of(config.objectives)
    # two passages in a row need places for both
    length = tokenizer.context_length * (2 if "pair" in needs else 1)
    model = config.towers.build(tokenizer.vocabulary, length, needs)
    around = Surroundings(
        model=model,
        sources=[part.name for part in config.data.parts],
        seed=config.train.seed,
        mask_id=tokenizer.mask_id,
        tokenizer=tokenizer,
        seen_S=seen_S,
        text_teacher=teacher,
        labels=labels,
    )
    return TrainingModule(model, config.objectives, around)


def seen_words(objectives: Sequence[Any], data: TrainingData, tokenizer: Tokenizer) -> Tensor | None:
    """Ids that the training texts hold, where an objective predicts no others."""
    if all(getattr(each, "words", "all") == "all" for each in objectives):
        return None

    def look() -> list[int]:
        found, captions = {0}, data.captions()
        while part := list(itertools.islice(captions, READ_AT_A_TIME)):
            found.update(tokenizer(part)[0].flatten().tolist())
        return sorted(found)

    return torch.tensor(on_main(look))


def refuse_other_copies(data: TrainingData) -> None:
    """Ranks that read different copies of a dataset would each follow an order of their own.

    Raises:
        DataError: some rank's shards are not those of the main rank; names dataset and ranks.
    """
    found = gather_objects(data.digests())
    for name, digest in found[0].items():
        others = [str(rank) for rank, digests in enumerate(found) if digests[name] != digest]
        if others:
            ranks = f"rank{'s' if len(others) > 1 else ''} {', '.join(others[:8])}"
            error = DataError(
                f"{name}: the shards that {ranks} read are not those of rank 0; give every node the same copy"
            )
            error.on_every_rank = True
            raise error


def evaluated_split(data: Data, name: str) -> tuple[str, str]:
    """(dataset, split) that an evaluator names: SPLIT of the (first) training dataset, or NAME:SPLIT of any."""
    base, split = parse_name(name)
    if split is None:  # the name of a split alone
        base, split = "", name
    return base or data.parts[0].name, split


def index_run(config: Pretrain, ranks: int, console: Console) -> None:
    """Index what a run reads and nobody has indexed yet, before its datasets are opened.

    Raises:
        DataError: shards that cannot be read, or too many while other ranks wait.
    """
    data = config.data
    trained = [(part.name, part.split) for part in data.parts if data.order == "exact"]
    evaluated = [evaluated_split(data, split) for evaluator in config.evaluation for split in evaluator.splits]
    index_on_first_use([*trained, *evaluated], data.storage, console, data.on_damage, ranks)


def open_split(parts: Parts, name: str) -> Dataset:
    """The split that an evaluator names."""
    data = parts.config.data
    name, split = evaluated_split(data, name)
    # indexes on first use: made once, not by every rank
    on_main(lambda: len(Dataset(name, split, data.verify, storage=data.storage)))
    return on_all(lambda: Dataset(name, split, storage=data.storage))


def measure_norms(parts: Parts) -> None:
    """Before the first step, give frozen BatchNorm the statistics of the first positions' pictures.

    Statistics that came with a weights file stay: they belong to those weights.
    """
    image = parts.module.model.image
    if image is None or not image.needs_statistics():
        return
    config = parts.config
    # always as one process sees them: the statistics must not depend on how many ranks there are
    data = TrainingData(replace(config.data, verify=False, batch=min(STATISTICS_ROWS, len(parts.data)), workers=0))
    batches = training_loader(data, parts.tokenizer, config.towers.size, World(), 1, 0)
    measure_statistics(image, [batch.images_BCHW for batch in on_all(lambda: next(batches))])


def require_space_for_checkpoints(parts: Parts) -> int:
    """Refuse a run whose checkpoints the disk cannot hold; returns the bytes of one.

    Raises:
        MmpretrainError: too little is free where the run folder is or will be.
    """
    config = parts.config
    # fp32 weights and AdamW's two moments, and the average where the run keeps one
    copies = 4 if config.optim.ema else 3
    size = copies * 4 * sum(parameter.numel() for parameter in parts.module.parameters())
    # those that stay, and the one being written, beside those that are there already
    wanted = config.train.keep_last + 1 + (config.train.keep_best is not None)
    missing = max(1, wanted - len(list_checkpoints(Run(Path(config.run.folder)).checkpoints)))
    remedy = "put the run elsewhere with run.folder=PATH"
    if missing < wanted:
        remedy = "delete some of its checkpoints: mmpretrain checkpoint prune"
    require_space(Path(config.run.folder), size * missing, "the checkpoints of this run", remedy)
    return size


def training_batches(parts: Parts, start: int, beside: Beside | None = None) -> Iterator[list[Batch]]:
    """This rank's micro-batches of every step from `start` on.

    Args:
        beside: see `recipes.beside`.
    """
    config = parts.config
    return training_loader(
        parts.data,
        parts.tokenizer,
        config.towers.size,
        parts.world,
        config.train.micros(parts.world.size),
        start,
        VIEWS if "views" in needs_of(config.objectives) else 0,
        beside,
        blind="image" in frozen_towers(parts),
    )


def frozen_towers(parts: Parts) -> list[str]:
    """Towers that are computed once, because none of their weights learns and the config keeps what they say."""
    model = parts.module.model
    if parts.config.towers.cache is None:
        return []
    towers = {"image": model.image, "text": model.text}
    return [name for name, tower in towers.items() if tower and not any(p.requires_grad for p in tower.parameters())]


def build_engine(parts: Parts) -> Engine:
    """The config's engine around the module; from here on this process keeps what it frees, for the next step."""
    if parts.device.type == "cpu":
        keep_freed_memory()
    return engine_around(parts.module, parts.config, parts.device, parts.rates)


def engine_around(module: TrainingModule, config: Pretrain, device: torch.device, rates: Rates | None = None) -> Engine:
    optim = config.optim
    options = Options(device=device, clip_norm=optim.clip_norm, ema=optim.ema)
    return config.engine.build(module, partial(optim.build, rates=rates or {}), options)


def evaluation_rows(size: int) -> int:
    """Samples of a batch in evaluation."""
    return min(EVALUATION_ROWS, max(16, EVALUATION_PIXELS // max(1, size) ** 2))
