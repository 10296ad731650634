"""What tells two samples apart or alike: digests of bytes, pixels and captions, and two perceptual hashes.

The perceptual hashes are imagehash's: phash (signs of low DCT frequencies) finds what may be the same picture, dhash
(signs of gradients) confirms it. Both see grey only, so a small grid of colours has to agree as well: otherwise a
green heart would be a copy of a blue one.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.parallel import ordered_map
from mmpretrain.data.card import Card
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import ShardIndex
from mmpretrain.data.samples import Reading, ShardReader, decode

GRID = 4
"""Cells a side of the grid of colours."""
FLAT = 3.0
"""Standard deviation of the grey values, of 255, under which a picture is flat: its perceptual hashes are noise."""


class Unusable(NamedTuple):
    """A sample without a fingerprint, and why it cannot be used."""

    split: str
    shard: str
    key: str
    reason: str
    detail: str


class Name(NamedTuple):
    """A sample as lists and messages call it."""

    split: str
    shard: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Fingerprints:
    """One row a sample that can be used, in the order of splits, shards and keys; N rows."""

    splits: list[str]
    """Split of each shard."""
    names: list[str]
    """What its dataset calls each shard."""
    shards: list[ShardIndex]
    shard_N: np.ndarray
    """Place in `shards`; int32."""
    row_N: np.ndarray
    """Sample within its shard; int32."""
    bytes_N: np.ndarray
    """Digest of the picture's bytes, of a text without picture that of text and facts; int64, as the next three."""
    pixels_N: np.ndarray
    """Digest of the decoded pixels and their size; of a text without picture as above."""
    caption_N: np.ndarray
    """Digest of the normalised caption."""
    text_group_N: np.ndarray
    """The card's text group."""
    label_N: np.ndarray
    """Place in the card's classes, -1 without one; int32."""
    phash_N: np.ndarray
    """uint64; 0 where the pictures were not hashed."""
    dhash_N: np.ndarray
    colours_NC: np.ndarray
    """Mean colour of each cell of the grid; uint8, GRID * GRID * 3 columns."""
    hashed_N: np.ndarray
    """Whether the perceptual hashes mean anything; bool."""
    faults: list[Unusable] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.row_N)

    def name(self, number: int) -> Name:
        shard = int(self.shard_N[number])
        return Name(self.splits[shard], self.names[shard], self.shards[shard].keys[int(self.row_N[number])])

    def split_of_rows(self) -> np.ndarray:
        """Name of each row's split; objects, N."""
        return np.array(self.splits, dtype=object)[self.shard_N]


class _Row(NamedTuple):
    row: int
    bytes: int
    pixels: int
    caption: int
    text_group: int
    label: int
    phash: int
    dhash: int
    colours: np.ndarray
    hashed: bool


class Work(NamedTuple):
    """A shard to look at."""

    card: Card
    split: str
    name: str
    """What its dataset calls the shard."""
    shard: ShardIndex
    rows: Sequence[int] | None = None
    """Samples in the shard; None for all."""


def shards_of(datasets: Iterable[Dataset]) -> list[Work]:
    """Every shard of some splits."""
    return [
        Work(dataset.card, dataset.split, name, shard)
        for dataset in datasets
        for name, shard in zip(dataset.names, dataset.shards, strict=True)
    ]


def fingerprints(
    shards: Sequence[Work], perceptual: bool = True, workers: int = 0, reading: Reading | None = None
) -> Iterator[Fingerprints]:
    """The fingerprints of each shard; `join` makes one of them.

    Args:
        perceptual: also hash what the pictures look like.
        workers: processes that decode; 0 decodes in this one.

    Raises:
        ConfigError: imagehash is not installed.
        MmpretrainError: a worker died.
    """
    if perceptual:
        require_imagehash()
    look_at = partial(_of_shard, perceptual=perceptual, reading=reading or Reading())
    yield from ordered_map(look_at, shards, workers, chunk=1, preload=__name__)


def require_imagehash() -> None:
    """Refuse before the work what would fail in it."""
    try:
        import imagehash  # noqa: F401
    except ImportError as error:
        raise ConfigError('near-duplicate pictures need imagehash; pip install -e ".[eval]"') from error


def _of_shard(work: Work, perceptual: bool, reading: Reading) -> Fingerprints:
    card, split, name, shard, chosen = work
    reader, rows, faults = ShardReader(), [], []
    for number in range(len(shard)) if chosen is None else chosen:
        try:
            rows.append(_of_sample(card, reader, shard, number, perceptual, reading))
        except BadSample as error:
            faults.append(Unusable(split, name, shard.keys[number], error.reason, error.detail))
    return _columns(work, rows, faults)


def _of_sample(
    card: Card, reader: ShardReader, shard: ShardIndex, number: int, perceptual: bool, reading: Reading
) -> _Row:
    members = reader.read(shard, number)
    sample = decode(card, members, shard.keys[number], 0, reading)
    has_picture = bool(sample.image.numel())
    looks = (
        look(sample.image) if perceptual and has_picture else (0, 0, np.zeros(GRID * GRID * 3, dtype=np.uint8), False)
    )
    caption = name_to_int(normalise_caption(sample.caption))
    content = sample.image_group if has_picture else name_to_int(sample.caption.encode() + members.get("json", b""))
    pixels = digest_of_pixels(sample.image) if has_picture else content
    return _Row(number, content, pixels, caption, sample.text_group, sample.label, *looks)


def look(image_CHW: Tensor) -> tuple[int, int, np.ndarray, bool]:
    """What a picture looks like: phash, dhash, colours of a grid, and whether the hashes mean anything."""
    import imagehash

    image = Image.fromarray(image_CHW.permute(1, 2, 0).numpy())
    grey = image.convert("L")
    colours = np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX, reducing_gap=2.0)).reshape(-1)
    hashed = float(np.asarray(grey).std()) >= FLAT
    return _to_int(imagehash.phash(grey).hash), _to_int(imagehash.dhash(grey).hash), colours, hashed


def _to_int(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def digest_of_pixels(image_CHW: Tensor) -> int:
    """Equal for pictures of one size with equal pixels, whatever file format they came in."""
    size = f"{tuple(image_CHW.shape)}".encode()
    return name_to_int(size + image_CHW.numpy().tobytes())


def normalise_caption(caption: str) -> str:
    """Letters and digits only, compatibility forms and case folded: captions that differ in nothing else are equal."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", caption).casefold())
    # marks belong to letters, as the vowel signs of Indic scripts; a caption of emoji or signs alone stays itself
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join(kept.split()) or " ".join(folded.split())


def _columns(work: Work, rows: list[_Row], faults: list[Unusable]) -> Fingerprints:
    def column(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows], dtype=kind)

    return Fingerprints(
        splits=[work.split],
        names=[work.name],
        shards=[work.shard],
        shard_N=np.zeros(len(rows), dtype=np.int32),
        row_N=column("row", np.int32),
        bytes_N=column("bytes", np.int64),
        pixels_N=column("pixels", np.int64),
        caption_N=column("caption", np.int64),
        text_group_N=column("text_group", np.int64),
        label_N=column("label", np.int32),
        phash_N=column("phash", np.uint64),
        dhash_N=column("dhash", np.uint64),
        colours_NC=column("colours", np.uint8).reshape(len(rows), GRID * GRID * 3),
        hashed_N=column("hashed", bool),
        faults=faults,
    )


def join(parts: Iterable[Fingerprints]) -> Fingerprints:
    """Several as one, in their order."""
    known = list(parts)
    firsts = np.cumsum([0, *(len(part.shards) for part in known)])
    columns = [name for name in Fingerprints.__dataclass_fields__ if name.endswith(("_N", "_NC")) and name != "shard_N"]
    return Fingerprints(
        splits=[split for part in known for split in part.splits],
        names=[name for part in known for name in part.names],
        shards=[shard for part in known for shard in part.shards],
        shard_N=np.concatenate([part.shard_N + first for part, first in zip(known, firsts, strict=False)]),
        faults=[fault for part in known for fault in part.faults],
        **{name: np.concatenate([getattr(part, name) for part in known]) for name in columns},
    )
