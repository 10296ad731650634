"""A run in the formats of other tools: written into a temporary folder, compared with torch, and only then kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import folder_in_one_step
from mmpretrain.core.settings import did_you_mean
from mmpretrain.export.onnx_files import require_onnx
from mmpretrain.export.report import REPORT, refuse_differing, report_of, write_report
from mmpretrain.export.trained import Compared, Trained
from mmpretrain.recipes.looks import say
from mmpretrain.recipes.trained import load_trained

Written = tuple[Sequence[Compared], Sequence[str], dict[str, Any]]
"""How far the parts are from torch, packages whose versions matter, and further facts."""


def export(folder: Path, to: str, out: Path, data: str, tolerance: float | None, console: Console) -> dict[str, Any]:
    """Write the best checkpoint of a run where it keeps one, else its newest, for another tool.

    Args:
        to: a name of `FORMATS`.
        out: the folder to make.
        data: split with samples to compare on, as `evaluate --data` takes it; empty: the run's val.
        tolerance: largest absolute difference of any number; None: the format's own.

    Raises:
        ConfigError: the format cannot express the run, a package is missing, or `out` exists.
        MmpretrainError: what was written says something else than torch; nothing is kept.
    """
    if to not in FORMATS:
        raise ConfigError(f"--to: unknown format {to!r}{did_you_mean(to, FORMATS)}")
    if out.exists():
        raise ConfigError(f"--out: {out} exists; name another folder")
    form = FORMATS[to]
    form.require()
    tolerance = form.tolerance if tolerance is None else tolerance
    trained = load_trained(folder, data, console)
    with folder_in_one_step(out) as temporary:
        found, packages, more = form.write(trained, temporary, tolerance)
        refuse_differing(trained, found)
        report = report_of(trained, to, found, ("torch", *packages), **more)
        write_report(temporary, report)
    tell(report, out, console)
    return {**report, "out": str(out)}


def to_open_clip(trained: Trained, folder: Path, tolerance: float) -> Written:
    from mmpretrain.export.open_clip_check import check_open_clip
    from mmpretrain.export.open_clip_layout import write_open_clip

    write_open_clip(trained, folder)
    return check_open_clip(trained, folder, tolerance), ("open_clip_torch", "timm"), {}


def to_onnx(trained: Trained, folder: Path, tolerance: float) -> Written:
    from mmpretrain.export.onnx_check import check_onnx
    from mmpretrain.export.onnx_files import PACKAGES, write_onnx
    from mmpretrain.export.onnx_graphs import graphs_of

    graphs = graphs_of(trained)
    more = write_onnx(trained, graphs, folder)
    return check_onnx(trained, graphs, folder, tolerance), PACKAGES, more


class Format(NamedTuple):
    """A way to write a run."""

    write: Callable[[Trained, Path, float], Written]
    tolerance: float
    """How far its numbers may be from torch."""
    require: Callable[[], None] = lambda: None
    """Raises ConfigError where a package is missing."""


FORMATS = {"open_clip": Format(to_open_clip, 1e-5), "onnx": Format(to_onnx, 1e-4, require_onnx)}
"""What `--to` may be."""


def tell(report: dict[str, Any], out: Path, console: Console) -> None:
    """Where the files are, and how far they are from torch."""
    for part in report["parts"]:
        say(console, f"{part['name']}: differs from torch by {part['largest_difference']:.2g} at most")
    if report["left_out"]:
        say(console, f"left out: {', '.join(report['left_out'])}")
    say(console, f"{out}: {report['to']} of {report['run']} at step {report['step']}; see {out / REPORT}")
