"""Files by path, or inside installed Python packages, and packages that a command needs."""

import importlib.util
from collections.abc import Sequence
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


def require(packages: Sequence[str], asked: str, extra: str) -> None:
    """Refuse before any work what a missing package would end.

    Args:
        packages: as they are imported.
        asked: the command or option that needs them.
        extra: of pyproject.toml, that brings them.

    Raises:
        ConfigError: names those that are missing, and the command that installs them.
    """
    missing = [name for name in packages if not is_there(name)]
    if missing:
        raise ConfigError(f'{asked}: needs {", ".join(missing)}; pip install -e ".[{extra}]"')


def is_there(package: str) -> bool:
    """Found, not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a package that somebody took out of sys.modules
        return False
