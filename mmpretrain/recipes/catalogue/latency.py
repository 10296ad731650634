"""How long towers take for a batch on this machine: measured once, and kept beside the weights."""

import dataclasses
import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import processor
from mmpretrain.recipes.alone import load_alone
from mmpretrain.recipes.catalogue.entry import Entry, Latency, first_line
from mmpretrain.recipes.settings import read_run
from mmpretrain.towers.open_clip_model import FOLDER, load_open_clip, weights_of

FILE = "latency.json"
ROWS = (1, 32)
"""One at a time, as a service is asked, and a batch."""
WARM_UP, TURNS = 3, 15
Pass = Callable[[int], Any]
"""Looks at so many rows."""


def kept_latency(folder: Path) -> Latency | None:
    """What was measured before with the same processor and as many threads; None where nothing was."""
    try:
        found = Latency(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    same = found.processor == processor() and found.threads == torch.get_num_threads()
    return found if same else None


def measure_run(folder: Path, size: int, length: int) -> Latency:
    """Of a run's towers in fp32, a text as long as its context; written into its folder.

    Args:
        size: side of the pictures.
        length: tokens of a text.

    Raises:
        ConfigError: there is no checkpoint.
    """
    alone = load_alone(folder, read_run(folder))
    return measure_towers(folder, alone.engine.module.model, size, length)


def measure_hub(folder: Path, size: int, length: int) -> Latency:
    """The same of a folder for Hugging Face."""
    from mmpretrain.export.hub_model import HubModel

    hub: Any = HubModel.from_pretrained(folder)
    return measure_towers(folder, hub.learned.model, size, length)


@torch.inference_mode()
def measure_towers(folder: Path, model: Any, size: int, length: int) -> Latency:
    def look(rows: int) -> Any:
        return model.image(torch.zeros(rows, 3, size, size))

    def read(rows: int) -> Any:
        tokens_BL = torch.ones(rows, length, dtype=torch.long)
        return model.text(tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool))

    model.to("cpu").eval()
    return keep(folder, look if model.image is not None else None, read if model.text is not None else None)


@torch.inference_mode()
def measure_open_clip(folder: Path, size: int, length: int) -> Latency:
    """Of open_clip's own model.

    Raises:
        ConfigError: open_clip cannot load it.
    """
    given = f"{FOLDER}{folder}"
    model = load_open_clip(given, weights_of(given, None, given), given).model

    def look(rows: int) -> Any:
        return model.encode_image(torch.zeros(rows, 3, size, size))

    def read(rows: int) -> Any:
        return model.encode_text(torch.ones(rows, length, dtype=torch.long))

    return keep(folder, look, read)


def measure_onnx(folder: Path, size: int, length: int) -> Latency:
    """Of the graphs of an ONNX folder by onnxruntime, a text as long as its context; written into it.

    Raises:
        ConfigError: onnxruntime is missing.
    """
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = {
        name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        for name in ("image", "text")
        if (folder / f"{name}.onnx").is_file()
    }

    def look(rows: int) -> Any:
        return sessions["image"].run(None, {"images": numpy.zeros((rows, 3, size, size), dtype=numpy.uint8)})

    def read(rows: int) -> Any:
        tokens = numpy.ones((rows, length), dtype=numpy.int64)
        return sessions["text"].run(None, {"tokens": tokens, "mask": tokens > 0})

    return keep(folder, look if "image" in sessions else None, read if "text" in sessions else None)


def keep(folder: Path, look: Pass | None, read: Pass | None) -> Latency:
    """Measure, and leave the figures beside what was measured."""
    found = Latency(
        image=timed(look) if look else {},
        text=timed(read) if read else {},
        machine=platform.node(),
        processor=processor(),
        threads=torch.get_num_threads(),
        date=datetime.date.today().isoformat(),
    )
    write_atomic(folder / FILE, json.dumps(dataclasses.asdict(found), indent=1))
    return found


def timed(once: Pass) -> dict[str, float]:
    """Median milliseconds by the number of rows."""
    return {str(rows): median_of(lambda rows=rows: once(rows)) for rows in ROWS}  # type: ignore[misc]


def median_of(once: Callable[[], Any]) -> float:
    taken = []
    for _ in range(WARM_UP + TURNS):
        start = time.perf_counter()
        once()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken[WARM_UP:])


MEASURES: dict[str, Callable[[Path, int, int], Latency]] = {
    "run": measure_run,
    "open_clip": measure_open_clip,
    "onnx": measure_onnx,
    "huggingface": measure_hub,
}
"""By kind of row: (folder, side of pictures, tokens of a text)."""


def measured(entry: Entry) -> Entry:
    """A row with the latency of its towers; one whose weights cannot be asked says so."""
    try:
        found = MEASURES[entry.kind](Path(entry.name), entry.pixels or 0, entry.tokens or 0)
    except Exception as error:  # whatever a damaged folder makes open_clip, onnxruntime and others raise
        return dataclasses.replace(entry, state=f"not measured: {first_line(error)}")
    return dataclasses.replace(entry, latency=found)
