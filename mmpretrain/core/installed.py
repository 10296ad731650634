"""Files by path, or inside installed Python packages."""

import importlib.util
from pathlib import Path

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean


def locate(given: str, setting: str) -> Path:
    """The file that a setting names: a path, or package:NAME/FILE for one inside an installed Python package.

    Raises:
        ConfigError: there is none.
    """
    if not given.startswith("package:"):
        if not Path(given).is_file():
            raise ConfigError(f"{setting}: there is no file {given}")
        return Path(given)
    name, _, inside = given.removeprefix("package:").partition("/")
    # found, not imported: no code of the package runs
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    if folder is None:
        raise ConfigError(f"{setting}: no Python package {name!r} is installed; pip install it, or give a file")
    path = (Path(folder) / inside).resolve()
    if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
        files = [str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.suffix in (".safetensors", ".pth")]
        raise ConfigError(f"{setting}: {name} has no file {inside!r}{did_you_mean(inside, files) if files else ''}")
    return path
