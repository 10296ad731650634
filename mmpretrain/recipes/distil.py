"""Another teacher for a config that learns from one."""

from pathlib import Path

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import read_yaml


def taught_by(config: Path, teacher: str) -> list[str]:
    """Overrides that put a teacher in the place of the config's own.

    Raises:
        ConfigError: nobody learns from a teacher there.
    """
    objectives = read_yaml(config).get("objectives") or ()
    taught = [place for place, each in enumerate(objectives) if isinstance(each, dict) and "teacher" in each]
    if not taught:
        raise ConfigError(f"{config}: has no objective with a teacher; add distillation or text_distillation")
    return [f"objectives.{place}.teacher={teacher}" for place in taught]
