"""What a curve is before it is drawn: lines over steps, and how their values are written."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mmpretrain.report import wording

MAGNITUDE = 3.0
"""Times its least value that a quantity has to reach before a logarithmic axis is worth a look."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: steps and values of equal length, with an interval and chance where they are known."""

    name: str
    steps: list[int]
    values: list[float]
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    chance: float | None = None


def figure_series(name: str, figures: dict[int, dict[str, float]]) -> Series:
    """Figures with their intervals, by step."""
    found = list(figures.values())
    return Series(
        name=name,
        steps=list(figures),
        values=[figure["value"] for figure in found],
        lows=[figure["low"] for figure in found],
        highs=[figure["high"] for figure in found],
        chance=found[-1]["chance"] if found else None,
    )


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One quantity over steps."""

    title: str
    series: list[Series]
    percent: bool = False
    """Values are fractions, to be labelled in percent."""
    from_zero: bool = False
    """The axis starts at zero, because the quantity's size matters and not only its change."""
    noisy: bool = False
    """Single records scatter; a running mean is drawn over them."""
    positive: bool = False
    """A quantity of which factors matter too: it may be seen on a logarithmic axis."""
    across: str = "step"
    """What the values are over."""
    doubling: bool = False
    """Steps double from one to the next, and are as far from each other on the axis."""
    note: str = ""
    """What a reader should see in several lines."""

    @property
    def summary(self) -> str:
        """The note, or first and last value of a panel with one line."""
        if len(self.series) != 1:
            return self.note
        values = self.series[0].values
        return f"{self.text(values[0])} → {self.text(values[-1])}"

    @property
    def has_magnitudes(self) -> bool:
        """Whether a logarithmic axis can be drawn, and shows what a plain one hides."""
        values = [value for line in self.series for value in line.values]
        return self.positive and min(values) > 0 and max(values) >= MAGNITUDE * min(values)

    @property
    def description(self) -> str:
        """The panel in words, for those who cannot see it."""
        lines = [
            f"{s.name} from {self.text(s.values[0])} at {self.across} {s.steps[0]} to {self.text(s.values[-1])} at "
            f"{self.across} {s.steps[-1]}"
            for s in self.series
        ]
        return f"{self.title}: {'; '.join(lines)}"

    def text(self, value: float) -> str:
        """A value of this panel as a person reads it."""
        return wording.percent(value) if self.percent else wording.number(value)


def drawable(panels: Sequence[Panel]) -> list[Panel]:
    """Those with a line to draw: a single figure with its interval is a point beside a line, and no line of its own."""
    own = [(panel, [line for line in panel.series if len(line.steps) > 1 or line.lows]) for panel in panels]
    return [replace(panel, series=kept) for panel, kept in own if any(len(line.steps) > 1 for line in kept)]
