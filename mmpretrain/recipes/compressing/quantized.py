"""A step out of torch: the ONNX export of a run, and the same graphs in eight bits."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from mmpretrain import __version__
from mmpretrain.compression.quantize import PACKAGES, Feed, Quantize, mode_of, quantize, require_onnxruntime
from mmpretrain.core.batch import Batch
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import folder_in_one_step, write_atomic
from mmpretrain.export.report import REPORT
from mmpretrain.recipes.compressing.measured import feeds_of, sessions
from mmpretrain.recipes.compressing.surgery import first_batches
from mmpretrain.recipes.export import export
from mmpretrain.recipes.opened import Opened

ROWS = 16
"""Of a batch that is calibrated on: all that its graph makes of it is held in memory."""


def write_quantized(step: Quantize, given: Opened, fp32: Path, out: Path) -> dict[str, Any]:
    """Export a run where that is not done yet, and quantize the export; how far the two are from each other is told.

    Args:
        fp32: folder of the export.
        out: folder of the int8 graphs.

    Raises:
        ConfigError: onnxruntime is missing, or the run's data for calibration.
    """
    require_onnxruntime()
    if not fp32.exists():
        export(given.folder, "onnx", fp32, "", None, "", Console(quiet=True))
    batches = calibration(step, given, fp32)
    with folder_in_one_step(out) as temporary:
        facts = quantize(step, fp32, temporary, cut(batches, fp32))
        close = agreement(fp32, temporary, batches[0]) if batches else {}
        facts_of_run = {"run": str(given.folder), "step": given.step, "to": "onnx"}
        report = {**facts_of_run, "graphs": facts, "cosine_to_fp32": close, "versions": versions()}
        write_atomic(temporary / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def versions() -> dict[str, str]:
    return {"mmpretrain": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}}


def calibration(step: Quantize, given: Opened, fp32: Path) -> list[Batch]:
    """Training batches, where something is to be calibrated.

    Raises:
        ConfigError: the run's training data cannot be read here.
    """
    try:
        return list(first_batches(given, step.batches))
    except (DataError, ConfigError) as error:
        if "static" in (step.text, *(mode_of(step, graph) for graph in fp32.glob("image.onnx"))):
            raise ConfigError(
                f"steps: quantize: calibration asks for the data that {given.folder} learned from: {error}; bring them "
                "back, or use image: dynamic, text: dynamic"
            ) from error
        return []


def cut(batches: list[Batch], folder: Path) -> dict[str, list[Feed]]:
    """Feeds of each graph that a batch says something to."""
    found: dict[str, list[Feed]] = {}
    for batch in batches:
        for name, feed in feeds_of(batch).items():
            if (folder / f"{name}.onnx").exists():
                rows = range(0, len(batch), ROWS)
                found.setdefault(name, []).extend({key: x[row : row + ROWS] for key, x in feed.items()} for row in rows)
    return found


def agreement(fp32: Path, int8: Path, batch: Batch) -> dict[str, float]:
    """The mean cosine between vectors of both, by graph."""
    ours, theirs = (sessions(folder, torch.get_num_threads()) for folder in (int8, fp32))
    found = {}
    for name, feed in feeds_of(batch).items():
        outputs = [each.name for each in theirs[name].get_outputs()] if name in theirs else []
        if f"{name}_embedding" in outputs:
            one, other = (each[name].run([f"{name}_embedding"], feed)[0] for each in (ours, theirs))
            found[name] = float(np.mean((one * other).sum(axis=1)))
    return found
