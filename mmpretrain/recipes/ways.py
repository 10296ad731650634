"""Ways of writing, as commands name them."""

from dataclasses import fields
from typing import Any, get_args

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build, kinds_of
from mmpretrain.heads.generation.write import Generation

WAYS: dict[str, Any] = {kind: way for way in get_args(get_args(Generation)[0]) for kind in kinds_of(way)}


def build_generation(way: str, chosen: dict[str, Any]) -> Generation:
    """The settings of a way of writing.

    Raises:
        ConfigError: a setting of another way, or a value out of range.
    """
    for name in chosen:
        fits = [other for other, kind in WAYS.items() if name in {each.name for each in fields(kind)}]
        if way not in fits:
            raise ConfigError(f"--{name.replace('_', '-')}: goes with --how {' or '.join(fits)}, not with {way}")
    generation: Generation = build(WAYS[way], chosen, f"--how {way}")
    return generation
