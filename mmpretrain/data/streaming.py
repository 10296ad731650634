"""Shards read once from front to back, for data on networks that charge for every seek: webdataset's pipeline.

webdataset draws the shards, groups members to samples and shuffles; opening, reading tars and decoding are ours. Its
opener runs shells (`pipe:`), its tar reader unpacks compressed streams and takes a damaged header for the end, and
its decoders unpickle. What exactness costs and this mode gives up is in NOTICE.
"""

import itertools
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import webdataset
from torch.utils.data import get_worker_info
from webdataset.tariterators import group_by_keys

from mmpretrain.core.batch import Fault
from mmpretrain.core.counter import name_to_int, seed_of
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import DataError
from mmpretrain.data.card import shard_name
from mmpretrain.data.faults import BadSample
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Sample
from mmpretrain.data.shard_bytes import Shard

NOTICE = (
    "data.order: streaming gives up the exact order: shards are drawn with replacement, samples may repeat or be left "
    "out within an epoch, another number of ranks or workers sees other samples, and a resumed run draws anew"
)
BUFFER = 1_000
"""Samples, as they stand in the tar, among which each worker shuffles."""
MAX_FAULTS = 1_000
"""Samples and shards in a row that cannot be used before the data is called unreadable."""
_KIND = name_to_int("streaming")

Decode = Callable[[dict[str, bytes], str, int], Sample]
"""(members by suffix, key, position) -> sample; raises BadSample."""


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """Samples of one dataset for one rank, without end.

    Args:
        folder: the card's, by which accounts and errors name dataset and shards.
        suffixes: members that are kept; the others are skipped as they pass.
        max_bytes: larger members are skipped, whatever they are.
        first: position of the run's first row; later ones follow without gaps over all ranks and workers.
    """

    shards: Mapping[str, Shard]
    folder: Path
    decode: Decode
    suffixes: frozenset[str]
    max_bytes: int
    seed: int
    world: World = field(default_factory=World)
    first: int = 0
    shuffle: int = BUFFER

    def stages(self) -> list[Callable]:
        """Source and stages for a webdataset.DataPipeline; yields what `collated` takes."""
        account = Account(self.folder)
        return [
            # each worker of each rank draws for itself: equal steps everywhere, however few shards there are
            webdataset.ResampledShards(list(self.shards), seed=0, worker_seed=self._draw, deterministic=True),
            lambda sources: self._members(sources, account),
            lambda members: group_by_keys(members, suffixes=set(self.suffixes), handler=account.note_duplicate),
            lambda samples: webdataset.shuffle(self.shuffle, initial=self.shuffle, seed=self._draw())(samples),
            lambda samples: self._decoded(samples, account),
        ]

    def _draw(self) -> int:
        rank_and_worker, _ = self._place()
        return seed_of(_KIND, self.seed, self.first, rank_and_worker)

    def _place(self) -> tuple[int, int]:
        """(number of this worker among those of all ranks, how many they are)."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return self.world.rank * workers + number, self.world.size * workers

    def _members(self, sources: Iterable[dict[str, str]], account: "Account") -> Iterator[dict[str, Any]]:
        for source in sources:
            shard = self.shards[source["url"]]
            found = 0
            for name, content in read_tar(shard, self.suffixes, self.max_bytes, account):
                found += 1
                yield {"fname": name, "data": content, "__url__": source["url"]}
            yield {}  # what webdataset puts between shards, so that no sample spans two
            if not found:
                account.note(shard, "", BadSample("empty_shard", "no member can be used"))

    def _decoded(
        self, samples: Iterable[dict[str, Any]], account: "Account"
    ) -> Iterator[tuple[Place, Sample, list[Fault]]]:
        number, workers = self._place()
        positions = itertools.count(self.first + number, workers)
        position = next(positions)
        for sample in samples:
            members = {suffix: content for suffix, content in sample.items() if suffix in self.suffixes}
            try:
                decoded = self.decode(members, sample["__key__"], position)
            except BadSample as error:
                account.note(self.shards[sample["__url__"]], sample["__key__"], error)
                continue
            yield Place(0, -1, -1), decoded, account.take(position)
            position = next(positions)


class Account:
    """What could not be used since the last good sample."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._faults: list[Fault] = []

    def note(self, shard: Shard, key: str, error: BadSample) -> None:
        """Count a fault.

        Raises:
            DataError: nothing but faults for too long.
        """
        self._faults.append(
            Fault(
                position=-1,
                attempt=len(self._faults),
                dataset=self._folder.name,
                shard=shard_name(self._folder, shard),
                key=key,
                offset=-1,  # a stream has no index that knows
                reason=error.reason,
                detail=error.detail,
            )
        )
        if len(self._faults) >= MAX_FAULTS:
            raise DataError(
                f"{self._folder}: {MAX_FAULTS} samples or shards in a row cannot be used, the last one {shard}: "
                f"{key}: {error}; restore the shards, or take them out of the card"
            )

    def note_duplicate(self, error: Exception) -> bool:
        """Webdataset found a member twice: the first one stands."""
        text = str(error.args[0] if error.args else error)[:200]
        self._faults.append(Fault(-1, len(self._faults), self._folder.name, "", "", -1, "duplicate_member", text))
        return True

    def take(self, position: int) -> list[Fault]:
        """The faults that the sample at `position` makes up for."""
        faults = [fault._replace(position=position) for fault in self._faults]
        self._faults.clear()
        return faults


def read_tar(shard: Shard, suffixes: frozenset[str], max_bytes: int, account: Account) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files in a tar as they come; damage is counted and ends the shard.

    Raises:
        DataError: the shard cannot be reached.
    """
    with open_stream(shard) as file:
        try:
            # not "r|*": a compressed stream may unpack to anything
            with tarfile.open(fileobj=file, mode="r|") as tar:
                yield from _files(tar, shard, suffixes, max_bytes, account)
                _require_end(tar)
        except DataError:
            raise
        except Exception as error:  # whatever a tar reader says of hostile bytes
            account.note(shard, "", BadSample("damaged_shard", str(error)[:200]))


def open_stream(shard: Shard) -> IO[bytes]:
    """The shard from front to back; of a remote one nothing is kept.

    Raises:
        DataError: it cannot be opened.
    """
    if not isinstance(shard, Path):
        return shard.stream()
    try:
        return shard.open("rb")
    except OSError as error:
        raise DataError(f"{shard}: {error.strerror}; restore the shard") from error


def _files(
    tar: tarfile.TarFile, shard: Shard, suffixes: frozenset[str], max_bytes: int, account: Account
) -> Iterator[tuple[str, bytes]]:
    for info in tar:
        tar.members = []  # type: ignore[attr-defined]  # tarfile remembers every header otherwise
        suffix = info.name.rpartition("/")[2].partition(".")[2].lower()
        if not info.isreg() or suffix not in suffixes:
            continue
        if info.issparse() or info.size > max_bytes:  # a sparse member of 1 KB may claim a terabyte of zeros
            account.note(shard, info.name, BadSample("large_member", f"{info.size:,} bytes or sparse"))
            continue
        content = tar.extractfile(info)
        assert content is not None, "a regular file has content"
        yield info.name, content.read()


def _require_end(tar: tarfile.TarFile) -> None:
    """Python's tarfile takes a damaged header behind the first one for the end; behind a true end are zeros alone."""
    stream: Any = tar.fileobj
    place = stream.pos
    rest = 0
    while block := stream.read(65_536):
        rest += len(block)
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"damaged header near byte {place}")
    if rest < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"cut off at byte {place + rest}: the end mark is missing")
