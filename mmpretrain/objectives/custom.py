"""An objective of one's own, from a Python file that the config names."""

import functools
import importlib.util
import sys
from collections.abc import Set
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build, settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings


@settings
class Custom(Objective):
    """A class of settings in a file of one's own, as those in mmpretrain/objectives; the file is run."""

    kind: Literal["custom"] = "custom"
    path: str
    """FILE.py:CLASS; the class is a subclass of mmpretrain.objectives.base.Objective."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its settings."""

    @property
    def needs(self) -> Set[str]:
        return self.load().needs

    def load(self) -> Any:
        """The settings that the file's class makes of the options.

        Raises:
            ConfigError: no such file or class, or options that it does not take.
        """
        found = class_of(self.path)
        return build(found, {"weight": self.weight, "sources": self.sources, **self.options}, self.path)

    def build(self, around: Surroundings) -> Learner:
        learner: Learner = self.load().build(around)
        return learner


@functools.cache
def class_of(path: str) -> Any:
    """The class that FILE.py:CLASS names; the file is run once, however often its settings are asked for.

    Raises:
        ConfigError: no such file or class.
    """
    file, _, name = path.rpartition(":")
    module_name = f"mmpretrain_custom_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ConfigError(f"objectives: {path!r} names no Python file; write FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # where dataclasses look up what their annotations name
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ConfigError(f"objectives: {file} has no class {name!r} that is an Objective")
    return found
