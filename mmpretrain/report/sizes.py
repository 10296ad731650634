"""Size against score as an SVG that takes its colours from the page."""

import html
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 680.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 24.0, 22.0, 46.0
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Between lines of the grid, as shares."""
Scale = Callable[[float], float]
LETTER = 6.4
"""Width of a letter of a label."""


class Mark(NamedTuple):
    """One step."""

    name: str
    across: float
    """Megabytes, more than 0."""
    value: float
    """A share."""
    low: float
    high: float


def draw(marks: Sequence[Mark], title: str, across: str) -> str:
    """Points in the order of the steps, joined by a line; sizes double from one tick to the next."""
    if not marks:
        return ""
    low, high, step = bounds([each.low for each in marks], [each.high for each in marks])
    sizes = [each.across for each in marks]
    first, last = math.log2(min(sizes)) - MARGIN, math.log2(max(sizes)) + MARGIN

    def x(megabytes: float) -> float:
        return LEFT + (math.log2(megabytes) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    lines = [horizontal(low + n * step, y(low + n * step)) for n in range(round((high - low) / step) + 1)]
    ticks = [tick(each, x(each)) for each in round_sizes(2**first, 2**last)]
    path = " ".join(f"{x(each.across):.1f},{y(each.value):.1f}" for each in marks)
    points = [point(each, x(each.across), y, number) for number, each in enumerate(marks)]
    told = "; ".join(f"{each.name} {each.across:.2f} MB, {100 * each.value:.1f} %" for each in marks)
    return (
        f'<svg class="sizes" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{html.escape(f"{title} by {across}: {told}")}">'
        + "".join([*lines, *ticks])
        + f'<polyline class="path" points="{path}"/>'
        + "".join(points)
        + labels(marks, x, y)
        + f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6:.0f}" class="mid">{html.escape(across)}</text>'
        + "</svg>"
    )


MARGIN = 0.12
"""Room beside the first and the last point, in doublings."""


def round_sizes(low: float, high: float) -> list[float]:
    """Powers of two between two sizes, or where there are few of them, round numbers."""
    powers = [2.0**n for n in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    if len(powers) > 2:
        return powers
    step = 10 ** math.floor(math.log10(high - low))
    step = next(each for each in (step / 5, step / 2, step, 2 * step) if (high - low) / each <= 8)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def bounds(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float, float]:
    """An axis that holds all values between round numbers, and the step between its lines."""
    least, most = min(lows), max(highs)
    step = next((each for each in STEPS if (most - least) / each <= 5), STEPS[-1])
    low, high = math.floor(least / step) * step, math.ceil(most / step) * step
    return low, high if high > low else low + step, step


def horizontal(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT:.0f}" x2="{WIDTH - RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="end" x="{LEFT - 8:.0f}" y="{y + 4:.1f}">{100 * value:.3g} %</text>'
    )


def tick(megabytes: float, x: float) -> str:
    return f'<text class="mid" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18:.0f}">{megabytes:.3g}</text>'


def point(mark: Mark, x: float, y: Scale, number: int) -> str:
    kind = "first" if number == 0 else "step"
    return (
        f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{y(mark.low):.1f}" y2="{y(mark.high):.1f}"/>'
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y(mark.value):.1f}" r="5"/>'
    )


def labels(marks: Sequence[Mark], x: Scale, y: Scale) -> str:
    """A name beside each point, where it covers no other name or point as far as there is such a place."""
    points = [Box(x(m.across) - 7, x(m.across) + 7, y(m.value) - 7, y(m.value) + 7) for m in marks]
    taken, found = list(points), []
    for mark in marks:
        own = [around(mark, x(mark.across), y(mark.value), place) for place in PLACES]
        inside = [each for each in own if each.left > LEFT and each.right < WIDTH and each.bottom < HEIGHT - BOTTOM + 4]
        chosen = min(inside or own, key=lambda box: sum(box.meets(other) for other in taken))
        taken.append(chosen)
        found.append(
            f'<text class="name" x="{chosen.left:.1f}" y="{chosen.bottom - 3:.1f}">{html.escape(mark.name)}</text>'
        )
    return "".join(found)


PLACES = (
    (12.0, 0.0),
    (-12.0, 0.0),
    (12.0, -16.0),
    (-12.0, -16.0),
    (12.0, 16.0),
    (-12.0, 16.0),
    (12.0, -32.0),
    (-12.0, -32.0),
    (12.0, 32.0),
    (-12.0, 32.0),
)
"""Of a name beside its point; the first are the best."""


class Box(NamedTuple):
    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        beside = self.right < other.left or other.right < self.left
        return not (beside or self.bottom < other.top or other.bottom < self.top)


def around(mark: Mark, x: float, y: float, place: tuple[float, float]) -> Box:
    """Where a name would stand."""
    width = LETTER * len(mark.name)
    left = x + place[0] - (width if place[0] < 0 else 0)
    return Box(left, left + width, y + place[1] - 7, y + place[1] + 7)
