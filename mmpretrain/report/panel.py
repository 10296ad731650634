"""What a curve is before it is drawn: lines over steps, and how their values are written."""

from dataclasses import dataclass, field

from mmpretrain.report import wording


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
