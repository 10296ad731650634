"""Typed settings: frozen dataclasses from YAML and `a.b=c`, with every error at once and "did you mean".

A variant is a dataclass under `@settings` with `kind: Literal["..."]`; a family is a union of variants, and
that union is the only table. pydantic checks types and ranges; the walk here names unknown keys, because only
it can say which key was meant.
"""

import ast
import dataclasses
import difflib
import functools
import hashlib
import inspect
import itertools
import json
import re
import textwrap
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mmpretrain.core.errors import ConfigError

T = TypeVar("T")
MAX_YAML_BYTES = 1_000_000


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass that refuses unknown keys; texts below fields become the reference."""
    cls.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    for name, text in _texts_below_fields(cls).items():
        # pydantic reads these texts by itself, but not those of fields that a class inherits
        annotation: Any = cls.__annotations__[name]
        # what belongs to the class would become a field
        if get_origin(annotation) != ClassVar:
            cls.__annotations__[name] = Annotated[annotation, Field(description=text)]
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def _texts_below_fields(cls: type) -> dict[str, str]:
    """The text in the line below each field; none where there is no source to read."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for place, line in itertools.pairwise(body.body):
        match place, line:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts


# -- from text to nested dictionaries ---------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without aliases (no billion laughs), without silent duplicate keys, and with 5e-4 a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1}: aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key {key!r} stands twice")
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dictionary.

    Raises:
        ConfigError: it is missing, not YAML, not a mapping, or larger than a config can be.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size:,} bytes is no config (limit {MAX_YAML_BYTES:,})")
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(tree).__name__}")
    return tree or {}


def parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader, made stricter)


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `tree` with each `a.b=c` set; the value is read as YAML, `objectives.0.weight=2` enters a list.

    Raises:
        ConfigError: an override without `=`, or a path that runs through a plain value.
    """
    tree = json.loads(json.dumps(tree))
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"{override!r}: an override reads key.sub=value")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{override!r}: not valid YAML: {' '.join(str(error).split())}") from error
        _set(tree, path, value)
    return tree


def _set(tree: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for depth, key in enumerate([*parents, last]):
        if isinstance(tree, list):
            if not key.isdigit() or int(key) >= len(tree):
                raise ConfigError(f"{path}: {key!r} is not one of the entries 0 to {len(tree) - 1}")
            key = int(key)  # type: ignore[assignment]
        elif not isinstance(tree, dict):
            raise ConfigError(f"{path}: {'.'.join(path.split('.')[:depth])} is a plain value, it has no {key!r}")
        if depth == len(parents):
            tree[key] = value
        elif isinstance(tree, dict):
            tree = tree.setdefault(key, {})
        else:
            tree = tree[key]


# -- from dictionaries to dataclasses ---------------------------------------------------------------------


@functools.cache
def adapter(schema: Any) -> TypeAdapter[Any]:
    """Pydantic's view of a dataclass or a union: made once, because that takes longer than reading a config by it."""
    return TypeAdapter(schema)


def build(schema: type[T], tree: dict[str, Any], source: str = "config") -> T:
    """Check `tree` against `schema` and return the frozen object.

    Raises:
        ConfigError: one line for each thing that is wrong, with its path and, for unknown keys and kinds,
            what was probably meant.
    """
    problems = list(_unknown_keys(schema, tree, ()))
    known = {path for path, _ in problems}
    try:
        built: T = adapter(schema).validate_python(tree)  # type: ignore[arg-type]  # classes are hashable
    except ValidationError as error:
        problems += [(p, m) for p, m in _pydantic_problems(schema, error) if p not in known]
    if problems:
        lines = [f"{'.'.join(map(str, path)) or source}: {message}" for path, message in problems]
        raise ConfigError("\n".join(sorted(set(lines))))
    return built


def load(schema: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """The settings that a YAML file and overrides describe."""
    return build(schema, apply_overrides(read_yaml(path), overrides), str(path))


def _variant(annotation: Any, tree: Any) -> Any:
    """The type that `tree` is meant for: through Annotated and Optional, and by `kind` through unions."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [_variant(member, tree) for member in get_args(annotation)]
        kinds = [m for m in members if dataclasses.is_dataclass(m)]
        if len(kinds) == 1:
            return kinds[0]
        kind = tree.get("kind") if isinstance(tree, dict) else None
        return next((m for m in kinds if kind in kinds_of(m)), None)
    return annotation


def kinds_of(variant: Any) -> tuple[str, ...]:
    """The values that a variant's `kind` allows, () for a dataclass without one."""
    return get_args(get_type_hints(variant).get("kind"))


def _unknown_keys(annotation: Any, tree: Any, path: tuple) -> Iterator[tuple[tuple, str]]:
    target = _variant(annotation, tree)
    if dataclasses.is_dataclass(target) and isinstance(tree, dict):
        hints = get_type_hints(target, include_extras=True)
        for key, value in tree.items():
            if key in hints:
                yield from _unknown_keys(hints[key], value, (*path, key))
            else:
                yield (*path, key), f"unknown key{did_you_mean(str(key), hints)}"
    elif get_origin(target) in (list, tuple, Sequence) and isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _unknown_keys(get_args(target)[0], value, (*path, index))
    elif get_origin(target) is dict and isinstance(tree, dict):
        for key, value in tree.items():
            yield from _unknown_keys(get_args(target)[1], value, (*path, key))


def did_you_mean(word: str, known: Any) -> str:
    """`; did you mean 'x'?` or the possible words, as the end of a message."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; one of {', '.join(map(str, known))}"


def _pydantic_problems(schema: Any, error: ValidationError) -> Iterator[tuple[tuple, str]]:
    for entry in error.errors():
        path = _plain_path(schema, entry["loc"])
        if entry["type"] == "union_tag_invalid":
            context = entry["ctx"]
            known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            yield (*path, "kind"), f"unknown kind {context['tag']!r}{did_you_mean(context['tag'], known)}"
        elif entry["type"] == "union_tag_not_found":
            yield path, "needs a kind"
        elif entry["type"] == "value_error":
            yield path, str(entry["ctx"]["error"])
        elif entry["type"] == "missing":
            yield path, "needs a value"
        elif entry["type"] != "unexpected_keyword_argument":
            yield path, f"{entry['msg'].lower()}, found {entry['input']!r}"


def _plain_path(schema: Any, location: tuple) -> tuple:
    """Pydantic's location without the tags that it puts in for unions."""
    path: list = []
    position = schema
    for part in location:
        while get_origin(position) is Annotated:
            position = get_args(position)[0]
        if get_origin(position) in (Union, types.UnionType):
            members = [_variant(member, None) for member in get_args(position)]
            tagged = next((m for m in members if dataclasses.is_dataclass(m) and part in kinds_of(m)), None)
            if tagged is not None:
                position = tagged
                continue
            position = next((m for m in members if m is not type(None)), None)
        path.append(part)
        if dataclasses.is_dataclass(position):
            position = get_type_hints(position, include_extras=True).get(str(part))
        elif get_args(position):
            position = get_args(position)[-1 if get_origin(position) is dict else 0]
    return tuple(path)


# -- and back ---------------------------------------------------------------------------------------------


def dump(instance: Any) -> dict[str, Any]:
    """Every field, defaults included, as plain dictionaries, lists and values."""
    tree: dict[str, Any] = adapter(type(instance)).dump_python(instance, mode="json")  # type: ignore[arg-type]
    return tree


def to_yaml(instance: Any) -> str:
    return yaml.safe_dump(dump(instance), sort_keys=False, allow_unicode=True, width=100)


def digest(instance: Any) -> str:
    """The first 16 hex digits of the SHA-256 over every field: two runs with one digest had one config."""
    text = json.dumps(dump(instance), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists as {"a.b.0.c": value}; empty ones stay values."""
    if not isinstance(tree, dict | list) or not tree:
        return {prefix: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    leaves: dict[str, Any] = {}
    for key, value in items:
        leaves |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def difference(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """(path, old, new) wherever two trees differ; a missing side is the string "(unset)"."""
    left, right = flatten(old), flatten(new)
    paths = [*left, *(path for path in right if path not in left)]
    unset: Literal["(unset)"] = "(unset)"
    return [(p, left.get(p, unset), right.get(p, unset)) for p in paths if left.get(p, unset) != right.get(p, unset)]
