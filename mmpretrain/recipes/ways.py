"""Ways of writing, as commands name them."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build, kinds_of
from mmpretrain.heads.generation.write import Generation

WAYS: dict[str, Any] = {kind: way for way in get_args(get_args(Generation)[0]) for kind in kinds_of(way)}


def as_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def build_generation(way: str, chosen: dict[str, Any], spelled: Callable[[str], str] = as_option) -> Generation:
    """The settings of a way of writing.

    Args:
        spelled: what a person calls a setting.

    Raises:
        ConfigError: a setting of another way, or a value out of range.
    """
    for name in chosen:
        fits = [other for other, kind in WAYS.items() if name in {each.name for each in fields(kind)}]
        if way not in fits:
            raise ConfigError(f"{spelled(name)}: goes with {spelled('how')} {' or '.join(fits)}, not with {way}")
    generation: Generation = build(WAYS[way], chosen, f"{spelled('how')} {way}")
    return generation
