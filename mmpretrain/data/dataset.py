"""One split of one dataset on disk."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Set

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import sha256
from mmpretrain.data.captions import decode_caption
from mmpretrain.data.card import CARD, Card, find_dataset, load_card, parse_name, shard_name, shard_paths
from mmpretrain.data.faults import BadSample, UnusableSample
from mmpretrain.data.manifest import ShardFacts, add_to_manifest, read_manifest
from mmpretrain.data.order import Order, Part, digest_of_shards
from mmpretrain.data.samples import Limits, Reading, Sample, ShardReader, decode, decode_answers
from mmpretrain.data.shard_bytes import sizes
from mmpretrain.data.shards import OnDamage, Shards
from mmpretrain.data.storage import Storage


class Dataset:
    """One split of one dataset: its card, the facts of its shards, and their indexes as they are needed.

    Args:
        verify: hash every shard, not only compare its size.
        on_damage: what to do with shards that differ from their index.
        storage: how shards behind URLs are read; None: the defaults.
        indexed: False for shards that are only streamed: nothing is read, the card is believed.
    """

    def __init__(
        self,
        name: str,
        split: str,
        verify: bool = False,
        on_damage: OnDamage = "refuse",
        storage: Storage | None = None,
        indexed: bool = True,
    ) -> None:
        self.folder = find_dataset(name)
        self.card: Card = load_card(self.folder)
        self.split = split
        self.storage = storage
        self.paths = shard_paths(self.folder, self.card, split, storage)
        # what lists and messages call them: tars of several folders may have one file name
        self.names = [shard_name(self.folder, path) for path in self.paths]
        self.shards = Shards(self.paths if indexed else [], on_damage)
        self.facts = self._find_facts()
        if on_damage == "refuse":
            self._refuse_changed(verify)
        self.shards.expect(self.facts)
        self.left_out: Mapping[tuple[int, int], str] = {}
        """(shard, sample) of those that who reads the split as a whole goes without, and why."""
        self.chosen: Set[tuple[int, int]] | None = None
        """(shard, sample) of those that are asked for at all; None: every one."""
        expected = self.card.splits[split].samples
        if indexed and expected is not None and len(self) != expected:
            raise DataError(
                f"{self.folder}: the card says {expected:,} samples in {split!r}, its shards hold {len(self):,}; "
                "correct dataset.yaml or restore the shards"
            )

    def _find_facts(self) -> list[ShardFacts]:
        """From the manifest; shards that it does not know are indexed now, and added to it."""
        known = read_manifest(self.folder)
        names = self.names if self.shards else []
        opened = {name: self.shards[number] for number, name in enumerate(names) if name not in known}
        found = {name: ShardFacts.of(index) for name, index in opened.items()}
        if whole := {name: facts for name, facts in found.items() if opened[name].intact}:
            add_to_manifest(self.folder, whole)
        return [found.get(name) or known[name] for name in names]

    def _refuse_changed(self, verify: bool) -> None:
        """Before the first step, not in the middle of the run.

        Raises:
            DataError: a shard has another size, or with `verify` another digest, than the manifest says.
        """
        for path, facts, size in zip(self.shards.paths, self.facts, sizes(self.shards.paths), strict=True):
            if size != facts.bytes or (verify and sha256(path) != facts.sha256):
                raise DataError(
                    f"{path}: is not the file that was indexed ({size:,} bytes, then {facts.bytes:,}); restore the "
                    "shard, read what is left of it with data.on_damage=salvage, or if the change is meant run "
                    f"`mmpretrain data index {self.folder}`"
                )

    def __len__(self) -> int:
        if self.facts:
            asked = sum(facts.samples for facts in self.facts) if self.chosen is None else len(self.chosen)
            return asked - len(self.left_out)
        counted = self.card.splits[self.split].samples
        if counted is None:
            raise DataError(
                f"{self.folder / CARD}: splits.{self.split}.samples is not given, and what is only streamed cannot "
                "be counted; write the number"
            )
        return counted

    @property
    def identity(self) -> tuple[str, ...]:
        """(folder, split), and how many where not all of it is asked for: of one run, more hold all of fewer."""
        return str(self.folder), self.split, *([] if self.chosen is None else [str(len(self.chosen))])

    def places(self) -> list[tuple[int, int]]:
        """(shard, sample) of each that is asked for and not left out, in the order of the shards."""
        every = ((number, row) for number, facts in enumerate(self.facts) for row in range(facts.samples))
        asked = every if self.chosen is None else (place for place in every if place in self.chosen)
        return [place for place in asked if place not in self.left_out]

    def without(self, left_out: Mapping[tuple[int, int], str]) -> "Dataset":
        """The same split but for some samples; it is for reading as a whole, and its order is that of the whole."""
        part = copy.copy(self)
        part.left_out = left_out
        return part

    def only(self, chosen: Set[tuple[int, int]]) -> "Dataset":
        """So much of the split alone; as `without`, for reading as a whole."""
        part = copy.copy(self)
        part.chosen = chosen
        return part

    @property
    def bytes(self) -> int:
        return sum(facts.bytes for facts in self.facts)

    @property
    def digest(self) -> str:
        """Identifies the split's data: names and SHA-256 of all shards, in the order of the card."""
        digests = [facts.sha256 for facts in self.facts] or [""] * len(self.paths)  # a stream has names alone
        return digest_of_shards([(path.name, digest) for path, digest in zip(self.paths, digests, strict=True)])

    def order(self, seed: int, samples: int | None = None) -> Order:
        """Args: samples: so many of the split alone, drawn by the seed; None: all."""
        sizes = [facts.samples for facts in self.facts]
        return Order(sizes, self.digest, seed) if samples is None else Part(sizes, self.digest, seed, samples)

    def sample(self, reader: ShardReader, shard: int, sample: int, position: int, reading: Reading) -> Sample:
        """A sample, decoded.

        Raises:
            BadSample: it is damaged, or not what the card asks for.
        """
        index = self.shards[shard]
        group = index.image_group(sample, self.card.image)
        return decode(self.card, reader.read(index, sample), index.keys[sample], position, reading, group)

    def samples(self, reading: Reading | None = None) -> Iterator[Sample]:
        """Every sample that is not left out once, in the order of the shards.

        Raises:
            UnusableSample: names shard and key.
        """
        reader = ShardReader()
        for position, (number, row) in enumerate(self.places()):
            try:
                yield self.sample(reader, number, row, position, reading or Reading())
            except BadSample as error:
                raise UnusableSample(self.complaint(number, row, error), self.identity) from error

    def complaint(self, shard: int, sample: int, error: BadSample) -> str:
        """One line that names a bad sample and the remedy."""
        index = self.shards[shard]
        return (
            f"{index.path}: {index.keys[sample]}: {error.reason}: {error.detail}; restore the shard, or re-pack it "
            "without this sample"
        )

    def captions(self, limits: Limits | None = None) -> Iterator[str]:
        """The caption of every sample that has one, without a look at the pictures.

        Raises:
            ConfigError: the shards are only streamed.
        """
        if not self.shards:
            raise ConfigError(
                "data.tokenizer: wordpiece learns from all captions, and data.order: streaming does not read them "
                "beforehand; use data.tokenizer.kind=clip"
            )
        reader = ShardReader()
        for shard in self.shards:
            for row in range(len(shard)):
                with contextlib.suppress(BadSample):
                    members = reader.read(shard, row, (self.card.caption,))
                    yield decode_caption(members.get(self.card.caption, b""), (limits or Limits()).caption)

    def answers(self, limits: Limits | None = None) -> list[str]:
        """Every answer that a sample holds, each once; none where the card names none."""
        found: dict[str, None] = {}
        reader = ShardReader()
        for shard in self.shards if self.card.answers else ():
            for row in range(len(shard)):
                with contextlib.suppress(BadSample):
                    found.update(dict.fromkeys(decode_answers(self.card, reader.read(shard, row, ("json",)), limits)))
        return list(found)


def open_splits(name: str, storage: Storage | None = None) -> list[Dataset]:
    """The split that `NAME:SPLIT` means, every split of the card for a plain `NAME`.

    Args:
        storage: how shards behind URLs are read; None: the defaults.

    Raises:
        ConfigError: no such dataset or split.
        DataError: the shards are not what the card says.
    """
    return [Dataset(base, split, storage=storage) for base, split in named_splits(name)]


def named_splits(name: str) -> list[tuple[str, str]]:
    """(dataset, split) of the split that `NAME:SPLIT` means, or of every split of the card."""
    base, split = parse_name(name)
    splits = load_card(find_dataset(base)).splits if split is None else [split]
    return [(base, split) for split in splits]
