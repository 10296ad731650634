"""Configs as files: find, show with the origin of each value, schema, difference."""

import json
from collections.abc import Sequence
from pathlib import Path

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import (
    adapter,
    build,
    difference,
    dump,
    flatten,
)
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.recipes.settings import Pretrain, load_pretrain, read_pretrain


def show(path: Path, overrides: Sequence[str]) -> str:
    """One line a value: path, value, and default, file or override."""
    in_file = flatten(read_pretrain(path))
    tree = read_pretrain(path, overrides)
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


def deepspeed(path: Path, overrides: Sequence[str]) -> str:
    """The JSON that DeepSpeed gets.

    Raises:
        ConfigError: the config is for another engine.
    """
    config = load_pretrain(path, overrides)
    if not isinstance(config.engine, DeepSpeed):
        raise ConfigError(f"engine.kind: {config.engine.kind} has no such JSON; see it with engine.kind=deepspeed")
    return json.dumps(config.engine.json(config.optim.clip_norm), indent=1)


def schema() -> str:
    return json.dumps(adapter(Pretrain).json_schema(), indent=1, ensure_ascii=False)


def diff(old: Path, new: Path) -> str:
    changes = difference(dump(load_pretrain(old)), dump(load_pretrain(new)))
    return "".join(f"{key}: {json.dumps(left)} -> {json.dumps(right)}\n" for key, left, right in changes)
