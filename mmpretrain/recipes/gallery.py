"""Pictures to be embedded, with what stands beside them: of a dataset, or of any folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.captions import decode_caption
from mmpretrain.data.card import CARD, find_dataset, load_card, parse_name
from mmpretrain.data.convert.picture import FilePicture
from mmpretrain.data.dataset import Dataset, named_splits
from mmpretrain.data.faults import BadSample
from mmpretrain.data.given import given_pictures, shown
from mmpretrain.data.images import decode_image
from mmpretrain.data.samples import Limits, Reading, ShardReader
from mmpretrain.data.storage import Storage
from mmpretrain.recipes.datasets.index import index_on_first_use

NAMED = 5


class Seen(NamedTuple):
    """A picture that could be read."""

    image: torch.Tensor
    """uint8, 3 x height x width."""
    item: dict[str, Any]
    """key, caption (None without one), and where it stands."""


@dataclass
class LeftOut:
    """What could not be read."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, name: str, bad: BadSample) -> None:
        self.count += 1
        if len(self.named) < NAMED:
            self.named.append(f"{name}: {bad.reason}: {bad.detail}")


class Gallery(Protocol):
    """A source of pictures that can be found again by what stands beside them."""

    source: str
    """What a person named."""
    left_out: LeftOut

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Seen]: ...
    def picture(self, item: Mapping[str, Any]) -> torch.Tensor:
        """Once more.

        Raises:
            BadSample: it is not where it was.
        """


class Files:
    """A folder of pictures; NAME.txt beside NAME.jpg is its caption."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.source = str(folder.resolve())
        self.left_out = LeftOut()
        self._limits = limits
        self._given = given_pictures([folder.resolve()])

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[Seen]:
        for name, picture in self._given:
            try:
                if isinstance(picture, BadSample):
                    raise picture
                item = {"key": picture.path, "caption": self._caption(picture), "image_path": name}
                yield Seen(self.picture(item), item)
            except BadSample as bad:
                self.left_out.add(name, bad)

    def picture(self, item: Mapping[str, Any]) -> torch.Tensor:
        limits = shown(self._limits.image)
        content = FilePicture(self.source, item["key"], True).read(limits.max_bytes)
        return decode_image(content, limits)

    def _caption(self, picture: FilePicture) -> str | None:
        beside = Path(self.source, picture.path).with_suffix(".txt")
        try:
            return decode_caption(beside.read_bytes(), self._limits.caption) if beside.is_file() else None
        except (OSError, BadSample):
            return None


class Splits:
    """One split of a dataset or all of its own, each shard once."""

    def __init__(self, name: str, limits: Limits, storage: Storage | None, console: Console) -> None:
        index_on_first_use(named_splits(name), storage, console)
        self.source = name
        self.left_out = LeftOut()
        self._datasets = {split: Dataset(base, split, storage=storage) for base, split in named_splits(name)}
        self._reading = Reading(limits=limits)
        self._storage = storage
        self._reader = ShardReader()
        folder = next(iter(self._datasets.values())).folder
        if not load_card(folder).image:
            raise ConfigError(f"--data: {name} holds texts alone; what is embedded are pictures, name another")

    def __len__(self) -> int:
        return sum(len(dataset.shards[shard]) for _, dataset, shard in self._shards())

    def _shards(self) -> Iterator[tuple[str, Dataset, int]]:
        met: set[str] = set()
        for split, dataset in self._datasets.items():
            for shard, name in enumerate(dataset.names):
                if name not in met:
                    met.add(name)
                    yield split, dataset, shard

    def __iter__(self) -> Iterator[Seen]:
        for split, dataset, shard in self._shards():
            name, index = dataset.names[shard], dataset.shards[shard]
            for row in range(len(index)):
                try:
                    sample = dataset.sample(self._reader, shard, row, 0, self._reading)
                except BadSample as bad:
                    self.left_out.add(f"{name}: {index.keys[row]}", bad)
                    continue
                place = {"split": split, "shard": name, "row": row}
                yield Seen(sample.image, {"key": sample.key, "caption": sample.caption, **place})

    def picture(self, item: Mapping[str, Any]) -> torch.Tensor:
        dataset = self._datasets[item["split"]]
        if item["shard"] not in dataset.names:
            raise BadSample("missing_shard", f"no {item['shard']} in {dataset.folder.name}")
        shard = dataset.names.index(item["shard"])
        keys = dataset.shards[shard].keys
        if not item["row"] < len(keys) or keys[item["row"]] != item["key"]:
            raise BadSample("moved", f"{item['key']} is no longer where it was; make the index again")
        return dataset.sample(ShardReader(), shard, item["row"], 0, self._reading).image


def open_gallery(name: str, limits: Limits, storage: Storage | None, console: Console) -> Gallery:
    """A dataset by its name, one of its splits as NAME:SPLIT, or a folder of pictures.

    Raises:
        ConfigError: there is neither.
    """
    base, _ = parse_name(name)
    if Path(name).is_dir() and not (Path(name) / CARD).is_file():
        return Files(Path(name), limits)
    find_dataset(base)
    return Splits(name, limits, storage, console)
