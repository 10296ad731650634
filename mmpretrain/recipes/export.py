"""A run in the formats of other tools: written into a temporary folder, compared with torch, and only then kept."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import folder_in_one_step
from mmpretrain.core.settings import did_you_mean
from mmpretrain.export.onnx_files import require_onnx
from mmpretrain.export.push import push, refuse_push
from mmpretrain.export.report import REPORT, refuse_differing, report_of, write_report
from mmpretrain.export.trained import Compared, Trained
from mmpretrain.objectives.parts import parameters_of
from mmpretrain.recipes.catalogue.origin import ABOUT, about
from mmpretrain.recipes.looks import say
from mmpretrain.recipes.trained import load_trained


class Written(NamedTuple):
    """What a format says of what it wrote."""

    parts: Sequence[Compared]
    """How far they are from torch."""
    packages: Sequence[str]
    """Whose versions matter."""
    left_out: list[str]
    """What the run learned and was not taken along."""
    more: Mapping[str, Any] = MappingProxyType({})
    """Further facts for the report."""


def export(
    folder: Path, to: str, out: Path, data: str, tolerance: float | None, push_to: str, console: Console
) -> dict[str, Any]:
    """Write the best checkpoint of a run where it keeps one, else its newest, for another tool.

    Args:
        to: a name of `FORMATS`.
        out: the folder to make.
        data: split with samples to compare on, as `evaluate --data` takes it; empty: the run's val.
        tolerance: largest absolute difference of any number; None: the format's own.
        push_to: OWNER/NAME on a hub; empty: it stays here.

    Raises:
        ConfigError: the format cannot express the run, a package is missing, or `out` exists.
        MmpretrainError: what was written says something else than torch, and nothing is kept; or the hub refuses it.
    """
    if to not in FORMATS:
        raise ConfigError(f"--to: unknown format {to!r}{did_you_mean(to, FORMATS)}")
    if out.exists():
        raise ConfigError(f"--out: {out} exists; name another folder")
    form = FORMATS[to]
    form.require()
    if push_to and to != "huggingface":
        raise ConfigError(f"--push: goes with --to huggingface, not {to}")
    if push_to:
        refuse_push(push_to)
    tolerance = form.tolerance if tolerance is None else tolerance
    trained = load_trained(folder, data, console)
    with folder_in_one_step(out) as temporary:
        written = form.write(trained, temporary, push_to or out.name, tolerance)
        refuse_differing(trained, written.parts)
        known = about(folder, trained.step, parameters_of(trained.module))
        more = {"left_out": written.left_out, ABOUT: known, **written.more}
        report = report_of(trained, to, written.parts, ("torch", *written.packages), **more)
        write_report(temporary, report)
    tell(report, out, console)
    pushed = {"pushed": push(out, push_to)} if push_to else {}
    for address in pushed.values():
        say(console, f"pushed: {address}")
    return {**report, "out": str(out), **pushed}


def to_open_clip(trained: Trained, folder: Path, name: str, tolerance: float) -> Written:
    from mmpretrain.export.open_clip_check import check_open_clip
    from mmpretrain.export.open_clip_layout import write_open_clip

    write_open_clip(trained, folder)
    found = check_open_clip(trained, folder, tolerance)
    return Written(found, ("open_clip_torch", "timm"), trained.left_out([trained.pairs]))


def to_onnx(trained: Trained, folder: Path, name: str, tolerance: float) -> Written:
    from mmpretrain.export.onnx_check import check_onnx
    from mmpretrain.export.onnx_files import PACKAGES, write_onnx
    from mmpretrain.export.onnx_graphs import graphs_of

    graphs = graphs_of(trained)
    more = write_onnx(trained, graphs, folder)
    left_out = trained.left_out([trained.pairs, trained.matching, trained.captioning])
    return Written(check_onnx(trained, graphs, folder, tolerance), PACKAGES, left_out, more)


def to_huggingface(trained: Trained, folder: Path, name: str, tolerance: float) -> Written:
    from mmpretrain.export.hub_check import check_hub_model
    from mmpretrain.export.hub_model import hub_model
    from mmpretrain.export.model_card import model_card
    from mmpretrain.recipes.card_facts import card_facts

    model = hub_model(trained)
    # before the model, which would make an empty one
    model_card(card_facts(trained, name)).save(folder / "README.md")
    model.save_pretrained(folder)
    left_out = trained.left_out([trained.pairs, trained.captioning])
    return Written(check_hub_model(trained, folder, tolerance), ("huggingface_hub", "safetensors"), left_out)


class Format(NamedTuple):
    """A way to write a run."""

    write: Callable[[Trained, Path, str, float], Written]
    """(run, folder to fill, name of the model, tolerance) -> what was written."""
    tolerance: float
    """How far its numbers may be from torch."""
    require: Callable[[], None] = lambda: None
    """Raises ConfigError where a package is missing."""


FORMATS = {
    "open_clip": Format(to_open_clip, 1e-5),
    "onnx": Format(to_onnx, 1e-4, require_onnx),
    "huggingface": Format(to_huggingface, 1e-6),
}
"""What `--to` may be."""


def tell(report: dict[str, Any], out: Path, console: Console) -> None:
    """Where the files are, and how far they are from torch."""
    for part in report["parts"]:
        difference, counted = part["largest_difference"], part["tolerance"] == 0
        told = (
            f"{difference:.0f} of {part['numbers']:,}" if counted else f"differs from torch by {difference:.2g} at most"
        )
        say(console, f"{part['name']}: {told}")
    if report["left_out"]:
        say(console, f"left out: {', '.join(report['left_out'])}")
    say(console, f"{out}: {report['to']} of {report['run']} at step {report['step']}; see {out / REPORT}")
