"""Tables that stand in a text between two marks, made from a file of figures beside it."""

import re
from pathlib import Path

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic


def place_of(name: str) -> re.Pattern[str]:
    """What stands between `<!-- NAME -->` and the next `<!-- end -->`."""
    return re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", re.DOTALL)


def put_table(readme: Path, name: str, table: str) -> None:
    """Replace what stands between the marks.

    Raises:
        ConfigError: the text has no such marks.
    """
    text = require_place(readme, name)
    write_atomic(readme, place_of(name).sub(lambda found: table, text, count=1))


def require_place(readme: Path, name: str) -> str:
    """The text, before any work that would be for nothing.

    Raises:
        ConfigError: the text has no such marks.
    """
    text = readme.read_text(encoding="utf-8")
    if not place_of(name).search(text):
        raise ConfigError(f"{readme}: has no line `<!-- {name} -->` with `<!-- end -->` behind it; put them there")
    return text
