"""Samples into numbered tars of bounded size, with indexes and manifest: always the same bytes for the same samples."""

import io
from pathlib import Path
from typing import BinaryIO

import webdataset

from mmpretrain.data.index import SUFFIX, write_index
from mmpretrain.data.manifest import ShardFacts, add_to_manifest
from mmpretrain.data.scan import scan
from mmpretrain.data.tar import BLOCK

MAX_BYTES = 256_000_000
MAX_SAMPLES = 10_000


class ShardWriter:
    """`NAME-00000.tar`, `NAME-00001.tar`, ... in a folder; any webdataset reader takes them.

    Time, owner and mode of members are fixed, and members of a sample stand in the order of their suffixes, so
    that the bytes are a function of the samples. Use it as a context; the last shard is finished at its end.

    Args:
        max_bytes: a shard is closed before it would grow beyond this, unless one sample alone does.
        max_samples: and at this many samples.
    """

    def __init__(self, folder: Path, name: str, max_bytes: int = MAX_BYTES, max_samples: int = MAX_SAMPLES) -> None:
        self.paths: list[Path] = []
        self.samples = 0
        self._facts: dict[str, ShardFacts] = {}
        self._folder, self._name = folder, name
        self._max_bytes, self._max_samples = max_bytes, max_samples
        self._file: BinaryIO | None = None
        self._tar: webdataset.TarWriter | None = None
        self._here = self._bytes = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._abandon()
            return
        self.close()
        add_to_manifest(self._folder, self._facts)

    def write(self, key: str, members: dict[str, bytes]) -> None:
        """Add a sample; `members` are its files by suffix."""
        size = sum(BLOCK - (-len(content) // BLOCK) * BLOCK for content in members.values())
        if self._file is not None and (self._here == self._max_samples or self._bytes + size > self._max_bytes):
            self.close()
        if self._file is None:
            self._open()
        self._tar.write({"__key__": key, **members})  # type: ignore[union-attr]
        self._here, self._bytes = self._here + 1, self._bytes + size
        self.samples += 1

    def _open(self) -> None:
        self.paths.append(self._folder / f"{self._name}-{len(self.paths):05d}.tar")
        self._file, self._here, self._bytes = self.paths[-1].open("wb"), 0, 0
        # a file, not a name: webdataset would take a name such as pipe:... for a command
        self._tar = webdataset.TarWriter(self._file, mtime=0, user="", group="", encoder=False, compress=False)

    def close(self) -> None:
        """Finish the shard that is open and index it; what was written is read back and must be whole."""
        if self._file is None or self._tar is None:
            return
        self._tar.close()
        self._file.close()
        self._file = self._tar = None
        path = self.paths[-1]
        index = scan(path)
        write_index(index, path.with_name(path.name + SUFFIX))
        self._facts[path.name] = ShardFacts.of(index)

    def _abandon(self) -> None:
        """Let go of a shard that failed; the end mark of a tar on a full disk would fail once more."""
        if self._tar is not None:
            self._tar.tarstream.fileobj = io.BytesIO()
        if self._file is not None:
            self._file.close()
