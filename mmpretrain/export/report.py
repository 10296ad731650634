"""`export_report.json`: how far each part of an export is from torch, and the refusal of one that is too far."""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpretrain import __version__
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.export.trained import Compared, Trained

REPORT = "export_report.json"


def report_of(trained: Trained, to: str, found: Sequence[Compared], packages: Sequence[str], **more: Any) -> Any:
    """What stands in the file."""
    return {
        "run": trained.run,
        "step": trained.step,
        "to": to,
        "compared_on": trained.samples.name,
        "samples": len(trained.samples.texts),
        "parts": [{**each._asdict(), "passed": each.passed} for each in found],
        "versions": {"mmpretrain": __version__, **{name: importlib.metadata.version(name) for name in packages}},
        **more,
    }


def write_report(folder: Path, report: dict[str, Any]) -> None:
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def refuse_differing(trained: Trained, found: Sequence[Compared]) -> None:
    """Raises MmpretrainError: names each part that says something else than torch, and by how much."""
    wrong = [each for each in found if not each.passed]
    if wrong:
        told = "; ".join(
            f"{each.name} by {each.largest_difference:.3g} ({each.tolerance:g} of numbers up to 1 allowed)"
            for each in wrong
        )
        raise MmpretrainError(
            f"{trained.run}: what was exported differs from torch on {trained.samples.name}: {told}; nothing was kept"
        )
