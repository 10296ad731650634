"""What a run trains on: the settings of its data, and the datasets with the one order over them."""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.captions import CaptionChoice
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.ledger import Breaker
from mmpretrain.data.mixture import Mixture, weight_at
from mmpretrain.data.order import Order, Part
from mmpretrain.data.samples import Limits
from mmpretrain.data.shards import OnDamage
from mmpretrain.data.storage import Storage
from mmpretrain.data.tokenizer import ClipTokenizer, TokenizerFile, WordPieceTokenizer
from mmpretrain.data.transforms import Augmentation

STRONG = Augmentation(crop=(0.08, 1.0), flip=0.5, jitter=0.4, grayscale=0.2)
Weight = Annotated[float, Field(ge=0)]
Step = Annotated[int, Field(ge=0)]
TokenizerSettings = Annotated[ClipTokenizer | WordPieceTokenizer | TokenizerFile, Field(discriminator="kind")]


@settings
class Source:
    """One dataset of a mixture."""

    name: str
    """A folder with a dataset.yaml, or the name of one under data_shards."""
    split: str = "train"
    """The split to train on."""
    weight: Weight | list[tuple[Step, Weight]] = 1.0
    """Share of the batch relative to the other sources, or [step, weight] pairs: each holds from its step on."""
    samples: Annotated[int, Field(gt=0)] | None = None
    """Train on so many samples of the split, drawn by data.seed; more hold all of fewer. A tokenizer that learns
    still reads every caption. None: all of them."""

    def stages(self) -> list[tuple[int, float]]:
        """(step, weight) pairs in rising order of step, from step 0 on."""
        if not isinstance(self.weight, list):
            return [(0, self.weight)]
        found = sorted(self.weight)
        return found if found and found[0][0] == 0 else [(0, 0.0), *found]


@settings
class Data:
    """Where pairs come from and how they become batches."""

    name: str | None = None
    """A folder with a dataset.yaml, or the name of one under data_shards; or sources below."""
    split: str = "train"
    """The split to train on."""
    samples: Annotated[int, Field(gt=0)] | None = None
    """Train on so many samples of the split, drawn by data.seed; more hold all of fewer. A tokenizer that learns
    still reads every caption. None: all of them."""
    sources: list[Source] = field(default_factory=list)
    """Several datasets mixed by weight, instead of one by name."""
    batch: Annotated[int, Field(gt=0)]
    """Pairs in one optimizer step, over all ranks and micro-batches."""
    tokenizer: TokenizerSettings = field(default_factory=ClipTokenizer)
    augmentation: Augmentation = field(default_factory=Augmentation)
    view_augmentation: Augmentation = field(default_factory=lambda: STRONG)
    """The same for the further views of the objective views, which are to differ more."""
    captions: CaptionChoice = field(default_factory=CaptionChoice)
    """Which caption a step reads of pictures that have several."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that decode for each rank; 0 decodes in the training process."""
    seed: int = 0
    """Another seed is another order and another set of random crops."""
    decode: Literal["full", "scaled"] = "full"
    """scaled: JPEGs much larger than the crop are decoded 2, 4 or 8 times smaller; faster, and pixels differ a little
    (`mmpretrain bench data` says how much)."""
    limits: Limits = field(default_factory=Limits)
    breaker: Breaker = field(default_factory=Breaker)
    """When bad samples are too many to go on."""
    on_damage: OnDamage = "refuse"
    """Of a shard that differs from its index: refuse it before the first step, or salvage what is intact; what is
    not is replaced and stands in the ledger."""
    order: Literal["exact", "streaming"] = "exact"
    """exact: every sample once an epoch, the same for any number of ranks and workers, resumed where it stopped.
    streaming: shards are drawn at random and read once from front to back; for networks where seeks are dear."""
    verify: bool = False
    """Hash every shard before the first step; sizes are always compared, members checked as they are read."""
    storage: Storage = field(default_factory=Storage)

    def __post_init__(self) -> None:
        if (self.name is None) == (not self.sources):
            raise ValueError("needs either a name or sources")
        if self.sources and self.samples is not None:
            raise ValueError("samples: each source has its own; set sources.N.samples")
        if self.order == "streaming" and self.samples is not None:
            raise ValueError("samples: streaming draws whole shards; use order=exact, or leave samples out")
        if self.sources and self.order == "streaming":
            raise ValueError("order: streaming reads one dataset by name; a mixture needs the exact order")
        steps = {step for source in self.sources for step, _ in source.stages()}
        for step in steps:
            if not any(weight_at(source.stages(), step) for source in self.sources):
                raise ValueError(f"sources: from step {step} on every weight is 0; give one of them some")

    @property
    def parts(self) -> list[Source]:
        """The sources, one or several."""
        return self.sources or [Source(name=str(self.name), split=self.split, samples=self.samples)]


class TrainingData:
    """The datasets of a run and the one order over them."""

    def __init__(self, data: Data) -> None:
        self.settings = data
        self.datasets = [
            Dataset(part.name, part.split, data.verify, data.on_damage, data.storage, data.order == "exact")
            for part in data.parts
        ]
        for part, dataset in zip(data.parts, self.datasets, strict=True):
            if part.samples is not None and part.samples > len(dataset):
                raise ConfigError(
                    f"data: samples: {part.samples} is more than the {len(dataset):,} of {part.name}:{part.split}; use "
                    "fewer, or leave it out for all"
                )

    def __len__(self) -> int:
        return sum(self.lengths)

    @property
    def lengths(self) -> list[int]:
        """Samples of each source that are trained on."""
        pairs = zip(self.settings.parts, self.datasets, strict=True)
        return [part.samples or len(dataset) for part, dataset in pairs]

    @property
    def without_pictures(self) -> list[str]:
        """Names of sources that hold texts alone."""
        pairs = zip(self.settings.parts, self.datasets, strict=True)
        return [part.name for part, dataset in pairs if not dataset.card.image]

    @property
    def without_following(self) -> list[str]:
        """Names of sources whose texts are followed by nothing."""
        pairs = zip(self.settings.parts, self.datasets, strict=True)
        return [part.name for part, dataset in pairs if not dataset.card.next]

    def without(self, keys: Sequence[str]) -> list[str]:
        """Names of sources whose card has none of some keys."""
        pairs = zip(self.settings.parts, self.datasets, strict=True)
        return [part.name for part, dataset in pairs if not any(getattr(dataset.card, key) for key in keys)]

    @property
    def label(self) -> str:
        """What the run is trained on, for tables."""
        pairs = zip(self.settings.parts, self.datasets, strict=True)
        return " + ".join(
            f"{f'{part.samples} of ' if part.samples else ''}{dataset.folder.name}:{dataset.split}"
            for part, dataset in pairs
        )

    @property
    def notes(self) -> int:
        """Files of the shards that stand in no sample."""
        return sum(facts.notes for dataset in self.datasets for facts in dataset.facts)

    def digests(self) -> dict[str, str]:
        """What identifies each source's shards."""
        names = (f"{part.name}:{part.split}" for part in self.settings.parts)
        return {name: dataset.digest for name, dataset in zip(names, self.datasets, strict=True)}

    def plan(self) -> Mixture:
        """What stands at each position."""
        data = self.settings
        return Mixture(self._orders(), [part.stages() for part in data.parts], data.batch, data.seed)

    def _orders(self) -> list[Order]:
        pairs = zip(self.settings.parts, self.datasets, strict=True)
        return [dataset.order(self.settings.seed, part.samples) for part, dataset in pairs]

    def drawn(self) -> list[Dataset]:
        """Each source with the samples alone that the order draws, for who asks what a run has learned from."""
        pairs = zip(self.datasets, self._orders(), strict=True)
        return [each.only(frozenset(order.places())) if isinstance(order, Part) else each for each, order in pairs]

    def captions(self) -> Iterator[str]:
        """Every caption of every source, and each answer once, for tokenizers that learn from them."""
        for dataset in self.datasets:
            yield from dataset.captions(self.settings.limits)
            if dataset.card.answers:
                yield from dict.fromkeys([*dataset.card.classes, *dataset.answers(self.settings.limits)])


def check_batch(training: TrainingData, ranks: int, micros: int, batch: int | None = None) -> None:
    """Refuse batches that cannot be cut or filled.

    Args:
        batch: samples of a global batch; None: those of the settings.

    Raises:
        ConfigError: the global batch is larger than the split, or does not divide by ranks x micro-batches.
    """
    batch = batch or training.settings.batch
    if batch > len(training):
        raise ConfigError(
            f"data.batch: {batch} is more than the {len(training)} samples of {training.label}; "
            f"use at most {len(training)}"
        )
    check_division(batch, ranks, micros)


def check_division(batch: int, ranks: int, micros: int) -> None:
    """Refuse a batch that ranks and micro-batches cannot share evenly.

    Raises:
        ConfigError: names the nearest batch that they can.
    """
    if batch % (ranks * micros):
        near = max(ranks * micros, batch // (ranks * micros) * ranks * micros)
        raise ConfigError(f"data.batch: {batch} does not divide by {ranks} ranks x {micros} micro-batches; use {near}")
