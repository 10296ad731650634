"""Vectors written row by row into one .npy file, in whatever number they come."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmpretrain.core.files import sync


class VectorFile:
    """A .npy that grows; its header is written again at the end, with the number of rows.

    numpy leaves room in a header for the first axis to grow, so that it stays as long as it was.
    """

    def __init__(self, path: Path, kind: str = "float32") -> None:
        self.path = path
        self.rows = 0
        self._kind = np.dtype(kind)
        self._file = path.open("wb")
        self._width = 0

    def __enter__(self) -> "VectorFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write_header()
        self._file.close()
        if error is None:
            sync(self.path)

    def add(self, vectors_BE: np.ndarray) -> None:
        if not self.rows:
            self._width = vectors_BE.shape[1]
            self._write_header()
        self._file.write(np.ascontiguousarray(vectors_BE, dtype=self._kind).tobytes())
        self.rows += len(vectors_BE)

    def _write_header(self) -> None:
        self._file.seek(0)
        header = {"descr": self._kind.str, "fortran_order": False, "shape": (self.rows, self._width)}
        write: Callable[..., Any] = np.lib.format.write_array_header_1_0
        write(self._file, header)
        if self.rows:
            self._file.seek(0, 2)
