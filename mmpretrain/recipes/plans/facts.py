"""What a plan takes from a config and, where its data lies here, from the data: words, lengths, counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.card import find_dataset, load_card, shard_paths
from mmpretrain.data.indexing import unindexed
from mmpretrain.data.labels import Labels
from mmpretrain.data.mixture import weight_at
from mmpretrain.data.samples import Reading
from mmpretrain.data.tokenizer import PAD_MULTIPLE, Tokenizer, WordPieceTokenizer
from mmpretrain.data.training import Data, TokenizerSettings, TrainingData, check_division
from mmpretrain.engines.ddp import Ddp
from mmpretrain.heads.base import Head
from mmpretrain.objectives.distillation import Distillation, width_of
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.planning.cut import Cut
from mmpretrain.planning.task import Task
from mmpretrain.recipes.assemble import seen_words
from mmpretrain.recipes.combinations import refuse_cut
from mmpretrain.recipes.data_facts import MEASURED, draw_texts
from mmpretrain.recipes.labels import labels_of
from mmpretrain.recipes.settings import Pretrain

MOST_CAPTIONS = 200_000
"""Captions of a set from which a plan still learns the vocabulary; of larger ones it takes the number that the config
asks for."""
UNKNOWN = 1000
"""Classes that a head is planned with where no card names them, as many as ImageNet has."""
UNKNOWN_LABELS = Labels(classes=tuple(map(str, range(UNKNOWN))), mask_classes=tuple(map(str, range(UNKNOWN))))
MASK_ID = 3
"""Where a vocabulary of word pieces has its hidden word."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What tokenizer and data say."""

    vocabulary: int
    mask_id: int | None
    context_length: int
    lengths: list[int]
    """Tokens of some texts; the context length alone where there are none to look at."""
    seen: int | None
    """Words that training texts hold, where an objective predicts no others; None: not known, or not asked."""
    pairs: int | None
    """Samples of the training split; None: not known."""
    shards: int | None
    labels: dict[str, Labels]
    """What each head tells apart."""
    notes: list[str]
    """Where these come from."""


def facts_of(config: Pretrain) -> Facts:
    """Look at the data where it lies here and is indexed; nothing is read over a network, and nothing written."""
    settings = config.data.tokenizer
    training, why = data_here(config.data)
    if training is None:
        tokenizer = None if isinstance(settings, WordPieceTokenizer) else settings.build([])
        length = settings.context_length
        note = f"every text fills the context of {length} tokens, and all words are predicted: {why}"
        return Facts(
            vocabulary=tokenizer.vocabulary if tokenizer else settings.vocabulary,  # type: ignore[union-attr]
            mask_id=tokenizer.mask_id if tokenizer else MASK_ID,
            context_length=length,
            lengths=[length],
            seen=None,
            pairs=None,
            shards=None,
            labels={each.called: UNKNOWN_LABELS for each in heads_of(config)},
            notes=[note, *([f"heads tell {UNKNOWN:,} classes apart: {why}"] if heads_of(config) else [])],
        )
    tokenizer, notes = tokenizer_of(settings, training)
    reading = Reading(limits=config.data.limits)
    texts = [text.caption for each in training.datasets for text in draw_texts(each, reading, MEASURED)]
    lengths = tokenizer(texts)[1].sum(dim=1).tolist() if texts and tokenizer else [settings.context_length]
    seen_S = seen_words(config.objectives, training, tokenizer) if tokenizer else None
    if texts and tokenizer:
        notes.append(f"texts as long as {len(texts):,} of {training.label}")
    return Facts(
        vocabulary=tokenizer.vocabulary if tokenizer else settings.vocabulary,  # type: ignore[union-attr]
        mask_id=tokenizer.mask_id if tokenizer else MASK_ID,
        context_length=settings.context_length,
        lengths=lengths,
        seen=None if seen_S is None else len(seen_S),
        pairs=len(training),
        shards=sum(len(dataset.shards) for dataset in training.datasets),
        labels=labels_of(config.objectives, training),
        notes=notes,
    )


def heads_of(config: Pretrain) -> list[Head]:
    return [each for each in config.objectives if isinstance(each, Head)]


def data_here(data: Data) -> tuple[TrainingData | None, str]:
    """The datasets, or why they cannot be looked at."""
    if data.order == "streaming":
        return None, "the data is only streamed"
    try:
        for part in data.parts:
            folder = find_dataset(part.name)
            paths = shard_paths(folder, load_card(folder), part.split, data.storage)
            if not all(isinstance(path, Path) for path in paths):
                return None, f"the shards of {part.name} are elsewhere"
            if unindexed(folder, [part.split], data.storage):
                return None, f"{part.name} has no index yet, `mmpretrain data index {part.name}`"
        return TrainingData(replace(data, verify=False)), ""
    except (ConfigError, DataError) as error:
        return None, str(error).partition("\n")[0]


def tokenizer_of(settings: TokenizerSettings, training: TrainingData) -> tuple[Tokenizer | None, list[str]]:
    """The tokenizer that a run would have; None where learning it takes long."""
    if isinstance(settings, WordPieceTokenizer) and len(training) > MOST_CAPTIONS:
        return None, [f"a vocabulary of {settings.vocabulary:,} words, as many as the config asks for at most"]
    return settings.build(training.captions()), []


def task_of(config: Pretrain, facts: Facts, ranks: int) -> Task:
    """What is planned.

    Raises:
        ConfigError: the batch does not divide.
    """
    refuse_unplanned(config)
    batch, micros = config.data.batch, config.train.micro_batches
    check_division(batch, ranks, micros)
    refuse_cut(config.objectives, batch, ranks, micros)
    rows = batch // (ranks * micros)
    engine: Any = config.engine
    if ranks > 1 and engine.kind == "single":
        engine = Ddp(precision=engine.precision)
    return Task(
        towers=config.towers,
        objectives=config.objectives,
        optim=config.optim,
        engine=engine,
        vocabulary=facts.vocabulary,
        context_length=facts.context_length,
        mask_id=facts.mask_id,
        sources=[part.name for part in config.data.parts],
        seen=facts.seen,
        labels=facts.labels,
        cut=Cut(
            ranks=ranks,
            micros=micros,
            rows=rows,
            size=config.towers.size,
            lengths=facts.lengths,
            padded=padded_length(facts.lengths, rows, facts.context_length),
            teacher_width=teacher_width(config),
            shares=shares_of(config.data),
            pictured=[has_pictures(part.name) for part in config.data.parts],
        ),
    )


def refuse_unplanned(config: Pretrain) -> None:
    """Settings whose memory and time no plan knows.

    Raises:
        ConfigError: names one, and what to plan instead.
    """
    if config.train.fixed_parts:
        raise ConfigError("train.fixed_parts: is not planned; use train.fixed_parts=null and train.micro_batches=N")
    if getattr(config.engine, "offload", "none") != "none":
        raise ConfigError("engine.offload: is not planned, what leaves the GPU waits for its node; use offload=none")
    if any(isinstance(each, TextDistillation) for each in config.objectives):
        raise ConfigError("objectives: text_distillation's teacher is not planned; leave the objective out")


def shares_of(data: Data) -> list[float]:
    """Of each source, at the first step."""
    weights = [weight_at(part.stages(), 0) for part in data.parts]
    return [float(weight / sum(weights)) for weight in weights]


def has_pictures(name: str) -> bool:
    """As the card says, where there is one."""
    try:
        return bool(load_card(find_dataset(name)).image)
    except (ConfigError, DataError):
        return True


def padded_length(lengths: Sequence[int], rows: int, most: int) -> int:
    """Tokens of the longest text of a batch, as often too few as too many, rounded up as the tokenizer does."""
    ordered = sorted(lengths)
    # half of all batches of n have nothing above the quantile 2 ** (-1 / n)
    longest = ordered[min(len(ordered) - 1, int(len(ordered) * 0.5 ** (1 / rows)))]
    return min(-(-longest // PAD_MULTIPLE) * PAD_MULTIPLE, most)


def teacher_width(config: Pretrain) -> int:
    """Of a teacher's vectors; the student's own where the teacher is not here."""
    teacher = next((each.teacher for each in config.objectives if isinstance(each, Distillation)), None)
    if teacher is None:
        return 0
    try:
        return width_of(teacher)
    except ConfigError:
        return config.towers.embedding
