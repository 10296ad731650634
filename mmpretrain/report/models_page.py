"""The page of models: what each can do, takes and finds, place by place."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmpretrain import __version__
from mmpretrain.report.page import TEMPLATES, environment
from mmpretrain.report.results import Bar


@dataclass(frozen=True, kw_only=True)
class Line:
    """A model as the page shows it; empty: not known."""

    name: str
    kind: str
    does: str
    is_damaged: bool
    parameters: str
    share: float
    """Of the largest one's parameters."""
    parts: str
    megabytes: str
    sees: str
    latency: str
    measured: str
    """Where and when."""
    score: str
    interval: str
    bar: Bar | None
    languages: str
    licences: str
    weights_licence: str


def render_models(sections: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """The page as text: one file that loads nothing.

    Args:
        sections: (title, models), in their order.
    """
    return (
        environment()
        .get_template("models.html")
        .render(
            sections=sections,
            count=sum(len(lines) for _, lines in sections),
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            version=__version__,
        )
    )
