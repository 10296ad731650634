"""The page of `mmpretrain explain`: pictures with what a run looks at in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpretrain import __version__
from mmpretrain.report.looks import looks_of
from mmpretrain.report.page import TEMPLATES, environment


def render_explained(facts: Mapping[str, Any]) -> str:
    """The page as text: one file that loads nothing."""
    page = environment().get_template("explained.html")
    return page.render(
        run=Path(facts["run"]).resolve().name,
        step=facts["step"],
        content=looks_of(facts),
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        version=__version__,
    )
