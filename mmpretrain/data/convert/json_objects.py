"""JSON files as streams of objects: lines, or one array."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import DataError
from mmpretrain.data.convert.encoding import ESCAPED

SUFFIXES = frozenset({".jsonl", ".ndjson"})
SAMPLE_ROWS = 200
Row = tuple[str, dict[str, Any] | str]
"""(origin, object), or what is wrong in its place."""


def sample_objects(path: Path, encoding: str) -> list[dict[str, Any]]:
    """The first objects.

    Raises:
        DataError: there is none.
    """
    first = itertools.islice(read_objects(path, encoding), SAMPLE_ROWS)
    rows = [row for _, row in first if not isinstance(row, str)]
    if not rows:
        raise DataError(f"{path}: no JSON objects; one on each line is expected")
    return rows


def read_objects(path: Path, encoding: str) -> Iterator[Row]:
    """Every object of a file, from lines or from one array."""
    if path.suffix.lower() == ".json":
        for number, value in enumerate(read_json(path)):
            yield f"{path.name}: entry {number}", value if isinstance(value, dict) else "no object"
        return
    with path.open(encoding=encoding, errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path.name}:{number}", _parsed(line, encoding)


def _parsed(line: str, encoding: str) -> dict[str, Any] | str:
    wrong = ESCAPED.search(line)
    if wrong is not None:
        return f"byte 0x{ord(wrong[0]) - 0xDC00:02x} is not {encoding}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return value if isinstance(value, dict) else f"an object was expected, found {type(value).__name__}"


def read_json(path: Path) -> Any:
    """A whole JSON file.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
