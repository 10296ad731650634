"""Configs as files: find, show with the origin of each value, schema, difference."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import (
    apply_overrides,
    build,
    did_you_mean,
    difference,
    dump,
    flatten,
    load,
    read_yaml,
)
from mmpretrain.recipes.assemble import Pretrain

ROOT = Path(__file__).parents[2] / "configs"


def find_config(verb: str, given: Path) -> Path:
    """A YAML file, a run folder's config, or a name under configs/VERB.

    Raises:
        ConfigError: there is none.
    """
    for path in (given, given / "config.yaml", Path("configs") / verb / f"{given}.yaml", ROOT / verb / f"{given}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in (ROOT / verb).glob("*.yaml"))
    raise ConfigError(f"{given}: no such config{did_you_mean(given.stem, known)}")


def show(path: Path, overrides: Sequence[str]) -> str:
    """One line a value: path, value, and default, file or override."""
    in_file = flatten(read_yaml(path))
    tree = apply_overrides(read_yaml(path), overrides)
    resolved = flatten(dump(build(Pretrain, tree, str(path))))
    overridden = {override.partition("=")[0] for override in overrides}

    def origin(key: str) -> str:
        if any(key == name or key.startswith(f"{name}.") for name in overridden):
            return "override"
        return "file" if key in in_file else "default"

    width = max(map(len, resolved))
    lines = [
        f"{key:{width}}  {json.dumps(value, ensure_ascii=False):24}  {origin(key)}" for key, value in resolved.items()
    ]
    return "".join(f"{line}\n" for line in lines)


def schema() -> str:
    return json.dumps(TypeAdapter(Pretrain).json_schema(), indent=1, ensure_ascii=False)


def diff(old: Path, new: Path) -> str:
    changes = difference(dump(load(Pretrain, old)), dump(load(Pretrain, new)))
    return "".join(f"{key}: {json.dumps(left)} -> {json.dumps(right)}\n" for key, left, right in changes)
