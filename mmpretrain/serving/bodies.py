"""From the bytes of a request to values and pictures: JSON with data URLs, or the parts of a form.

Nothing is fetched from an address, and nothing is written to a disk.
"""

import base64
import binascii
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from mmpretrain.serving.refusal import Refused

MOST_VALUES = 2_000
"""In one request."""
MOST_DEPTH = 6
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,40}(?:;[\w=.+-]{1,40})*;base64,", re.IGNORECASE)
LISTS = frozenset({"input", "labels", "templates", "questions", "heads"})
"""Fields of a form that may stand several times."""


@dataclass(frozen=True)
class File:
    """The bytes of a picture; what it is called plays no part."""

    content: bytes = field(repr=False)


def parse(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a request, pictures as `File`.

    Raises:
        Refused: 415, 400 or 422, with what is wrong.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"application/json":
        return parse_json(body)
    if kind == b"multipart/form-data":
        return parse_form(body, options.get(b"boundary", b""))
    raise Refused(415, "Content-Type: send application/json, or multipart/form-data with files")


def parse_json(body: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(body, parse_constant=refuse_constant)
    except UnicodeDecodeError:
        raise Refused(400, "body: is not UTF-8; send JSON in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"body: is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise Refused(422, 'body: an object with fields was expected, as {"input": "a red bird"}')
    if next(itertools.islice(values(tree, 0), MOST_VALUES, None), tree) is None:
        raise Refused(422, f"body: holds more than {MOST_VALUES:,} values; send several requests")
    found: dict[str, Any] = with_pictures(tree, "image")
    return found


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def values(tree: Any, depth: int) -> Iterator[None]:
    """A None for each value.

    Raises:
        Refused: the tree is too deep.
    """
    if depth > MOST_DEPTH:
        raise Refused(422, f"body: lies deeper than {MOST_DEPTH} levels")
    yield None
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from values(value, depth + 1)


def with_pictures(tree: Any, name: str) -> Any:
    """Fields `image`, and texts of `input` that are data URLs, as files."""
    if isinstance(tree, dict):
        return {key: with_pictures(value, key) for key, value in tree.items()}
    if isinstance(tree, list):
        return [with_pictures(value, name) for value in tree]
    if isinstance(tree, str):
        if name == "image":
            return file_of(tree)
        if name == "input" and _DATA_URL.match(tree):
            return file_of(tree)
    return tree


def file_of(address: str) -> File:
    """The bytes behind a data URL.

    Raises:
        Refused: another address, or damaged.
    """
    match = _DATA_URL.match(address)
    if match is None:
        raise Refused(
            422,
            "image: send the picture itself as data:image/png;base64,..., or as a file of a form; no address is read",
        )
    try:
        return File(base64.b64decode(address[match.end() :], validate=True))
    except (binascii.Error, ValueError) as error:
        raise Refused(422, f"image: is not base64: {error}") from None


def parse_form(body: bytes, boundary: bytes) -> dict[str, Any]:
    """Parts by name; `image` files and those of `input` as files, the others as texts, those of LISTS as lists.

    Raises:
        Refused: it is no form, has too many parts, or one is no text.
    """
    if not boundary:
        raise Refused(400, "Content-Type: multipart/form-data names no boundary")
    tree: dict[str, Any] = {}
    for name, value in parts_of(body, boundary):
        if name in LISTS:
            tree.setdefault(name, []).append(value)
        elif name in tree:
            raise Refused(422, f"{name}: stands twice")
        else:
            tree[name] = value
    return tree


def parts_of(body: bytes, boundary: bytes) -> list[tuple[str, Any]]:
    collector = Parts()
    try:
        parser = MultipartParser(boundary, collector.callbacks(), max_size=len(body) + 1)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"body: is no form: {error}") from None
    if not collector.ended:
        raise Refused(400, "body: the form is cut off")
    return collector.found


class Parts:
    """What the parser tells, part by part."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Any]] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value, self._content = bytearray(), bytearray(), bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self.header,
            "on_part_data": lambda data, start, end: self._content.extend(data[start:end]),
            "on_part_end": self.end,
            "on_end": self.finish,
        }

    def begin(self) -> None:
        if len(self.found) >= MOST_VALUES:
            raise Refused(422, f"body: holds more than {MOST_VALUES:,} parts; send several requests")
        self._headers = {}
        self._content = bytearray()

    def header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise Refused(422, "body: a part of the form has no name")
        content = bytes(self._content)
        self._content = bytearray()
        if name == "image" or b"filename" in options:
            self.found.append((name, File(content)))
            return
        try:
            self.found.append((name, content.decode()))
        except UnicodeDecodeError:
            raise Refused(422, f"{name[:40]}: is not UTF-8") from None

    def finish(self) -> None:
        self.ended = True
