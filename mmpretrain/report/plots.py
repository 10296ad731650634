"""A panel as an SVG that takes its colours from the page, so that it is right in light, dark and print."""

import hashlib
import html
import io
import re
from typing import TYPE_CHECKING, Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.report import wording
from mmpretrain.report.panel import Panel, Series

try:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
except ImportError as error:
    raise ConfigError('report: the curves need matplotlib; pip install -e ".[eval]"') from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (5.4, 2.6)
COLOURS = 6
STYLES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.4, 1.2, 1.4)))
# matplotlib knows no CSS variables: it draws in colours nobody would choose, which are then replaced
MUTED, GRID = "#020202", "#030303"
VARIABLES = {MUTED: "var(--muted)", GRID: "var(--line)"} | {
    f"#0400{place:02x}": f"var(--series-{place + 1})" for place in range(COLOURS)
}
SMOOTH_FROM = 40
"""Records from which on a running mean is drawn."""


def draw(panel: Panel, logarithmic: bool = False) -> str:
    """The panel's axes and lines; title and legend are the page's."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": panel.title,
        "font.size": 8.6,
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.subplots()
        for place, line in enumerate(panel.series):
            _draw_line(axes, panel, line, place)
        _dress(axes, panel, logarithmic)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return inline(buffer.getvalue(), panel, f"{panel.title}{' log' if logarithmic else ''}")


def _draw_line(axes: "Axes", panel: Panel, line: Series, place: int) -> None:
    colour, style = f"#0400{place % COLOURS:02x}", STYLES[place % len(STYLES)]
    few = len(line.steps) <= SMOOTH_FROM
    if line.lows:
        axes.fill_between(line.steps, line.lows, line.highs, color=colour, alpha=0.14, linewidth=0)
    if line.chance is not None and place == 0:
        axes.axhline(line.chance, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    if panel.noisy and not few:
        axes.plot(line.steps, line.values, color=colour, linewidth=0.8, alpha=0.35)
        axes.plot(line.steps, running_mean(line.values), color=colour, linewidth=1.7, linestyle=style)
    else:
        marker: dict[str, Any] = {"marker": "o", "markersize": 3.4} if line.lows else {}
        axes.plot(line.steps, line.values, color=colour, linewidth=1.7, linestyle=style, **marker)


def running_mean(values: list[float]) -> list[float]:
    """The mean of the records around each one, fewer at both ends."""
    reach = max(1, len(values) // 40)
    windows = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def tick_text(value: float) -> str:
    """As many digits as neighbouring ticks need to differ; small values as `2.5e-4`."""
    return wording.number(value) if abs(value) < 1e-2 else f"{value:,.6g}"


def _dress(axes: "Axes", panel: Panel, logarithmic: bool) -> None:
    """Axes that step back: a light grid, no frame, few ticks."""
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=MUTED, pad=5)
    axes.margins(x=0.02)
    axes.set_xlabel(panel.across, color=MUTED)
    if panel.doubling:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(panel.series[0].steps))
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if panel.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    if panel.from_zero and not logarithmic:
        axes.set_ylim(bottom=0)


def inline(svg: str, panel: Panel, name: str) -> str:
    """An SVG file as part of a page: no prolog, no rules or ids that reach beyond it, the page's font and colours.

    Args:
        name: no other drawing of the page has it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    # two panels may share a clip rectangle, and an id has to be the only one on the page
    prefix = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>c{prefix}", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, variable)
    content = body[body.index(">") + 1 :].replace("xlink:href", "href")
    width, height = (round(72 * inches) for inches in INCHES)
    opening = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(panel.description)}">'
    return opening + content
