"""One step after the other: what it leaves, what that takes, and how well it does beside the original."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mmpretrain.compression.quantize import Quantize
from mmpretrain.compression.retrain import Retrain
from mmpretrain.compression.steps import Compress, StepSettings
from mmpretrain.core.batch import Batch
from mmpretrain.core.files import folder_in_one_step
from mmpretrain.recipes.compressing import measured
from mmpretrain.recipes.compressing.quantized import write_quantized
from mmpretrain.recipes.compressing.retrained import retrain
from mmpretrain.recipes.compressing.scored import Asked, drops_of, forget, score, scores_of
from mmpretrain.recipes.compressing.surgery import first_batches, work_of, write_run
from mmpretrain.recipes.opened import Opened, open_best

ORIGINAL = "original"
SCORES = "scores"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all rows of a table have in common."""

    config: Compress
    original: Opened
    batch: Batch
    """Of training data, that operations and times are taken of."""
    asked: Asked
    out: Path
    console: Console

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    def call(self, rows: int) -> measured.Call:
        """What the original says of so many rows."""
        return measured.run_call(self.original, self.batch, rows)

    def times(self, calls: Mapping[str, Callable[[int], measured.Call]]) -> dict[str, Any]:
        return measured.times(calls, self.config.batch, self.config.rounds)


def bench_of(config: Compress, original: Opened, asked: Asked, out: Path, console: Console) -> Bench:
    batch = first_batches(original, 1)[0]
    return Bench(config=config, original=original, batch=batch, asked=asked, out=out, console=console)


def original_row(bench: Bench) -> Row:
    """The run as it was given."""
    taken = bench.times({ORIGINAL: bench.call})
    return {
        **row_of_run(bench, bench.original, bench.batch, ORIGINAL),
        "name": ORIGINAL,
        "kind": ORIGINAL,
        "told": f"step {bench.original.step}",
        "times": taken[ORIGINAL],
        "original_times": taken[ORIGINAL],
    }


def row_of_run(bench: Bench, given: Opened, batch: Batch, name: str) -> Row:
    """Size, operations and scores."""
    place = bench.out / SCORES / name
    forget(place)
    results = score(bench.asked, given.folder, place)
    return {
        "folder": str(given.folder),
        "threads": bench.threads,
        **measured.size_facts(given),
        "flops": measured.operations(given, batch),
        "scores": scores_of(results),
        "drops": drops_of(place, bench.out / SCORES / ORIGINAL) if name != ORIGINAL else {},
    }


def take(step: StepSettings, number: int, start: Path, bench: Bench) -> Iterator[Row]:
    """Do a step and measure it; a row, or two of a step that leaves torch."""
    began = time.perf_counter()
    out = bench.out / f"{number}-{step.kind}"
    if isinstance(step, Quantize):
        rows = quantized_rows(step, start, bench, number)
    elif isinstance(step, Retrain):
        told = retrain(step, start, bench.original, out, bench.console)
        rows = [run_row(bench, out, told, {})]
    else:
        rows = [cut_row(step, start, out, bench)]
    for row in rows:
        yield {"step": number, "kind": step.kind, **row, "seconds": round(time.perf_counter() - began, 1)}


def cut_row(step: Any, start: Path, out: Path, bench: Bench) -> Row:
    """Of a step that changes weights and learns nothing."""
    shutil.rmtree(out, ignore_errors=True)  # of an attempt that was not measured any more
    given = open_best(start)
    changed = step.apply(work_of(given))
    with folder_in_one_step(out) as temporary:
        write_run(given, changed, temporary, out)
    return run_row(bench, out, changed.told, changed.facts)


def run_row(bench: Bench, folder: Path, told: str, facts: Mapping[str, Any]) -> Row:
    """Of a run, timed in turns with the original."""
    given = open_best(folder)
    batch = first_batches(given, 1)[0]  # in its own words
    taken = bench.times({ORIGINAL: bench.call, "this": partial(measured.run_call, given, batch)})
    return {
        **row_of_run(bench, given, batch, folder.name),
        "name": folder.name,
        "told": told,
        "facts": dict(facts),
        "times": taken["this"],
        "beside": {"name": ORIGINAL, **taken[ORIGINAL]},
        "original_times": taken[ORIGINAL],
    }


def quantized_rows(step: Quantize, start: Path, bench: Bench, number: int) -> list[Row]:
    """Of the export in fp32 and of that in eight bits, timed in turns with each other and with the original."""
    folders = {"onnx": bench.out / f"{number}-onnx", "int8": bench.out / f"{number}-int8"}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
    given = open_best(start)
    report = write_quantized(step, given, folders["onnx"], folders["int8"])
    graphs = {name: measured.sessions(folder, bench.threads) for name, folder in folders.items()}
    batch = first_batches(given, 1)[0]
    calls: dict[str, Callable[[int], measured.Call]] = {
        ORIGINAL: bench.call,
        **{name: partial(measured.graph_call, found, batch) for name, found in graphs.items()},
    }
    for tower in ("image", "text"):
        for name, found in graphs.items():
            if tower in found:
                calls[f"{name} {tower}"] = partial(measured.graph_call, found, batch, only=tower)
    taken = bench.times(calls)
    flops, parameters = measured.operations(given, batch), measured.size_facts(given)["parameters"]
    rows = []
    for name, folder in folders.items():
        place = bench.out / SCORES / folder.name
        forget(place)
        other = ORIGINAL if name == "onnx" else "onnx"
        rows.append(
            {
                "name": folder.name,
                "folder": str(folder),
                "threads": bench.threads,
                "parameters": parameters,
                "bytes": sum(file.stat().st_size for file in folder.glob("*.onnx*")),
                "gzip_bytes": None,
                "zeros": 0.0,
                "flops": flops,
                "scores": scores_of(score(bench.asked, start, place, graphs[name])),
                "drops": drops_of(place, bench.out / SCORES / ORIGINAL),
                "drops_from_fp32": drops_of(place, bench.out / SCORES / folders["onnx"].name) if name == "int8" else {},
                "told": told_of(report) if name == "int8" else "the same in onnxruntime, fp32",
                "facts": report if name == "int8" else {},
                "times": taken[name],
                "original_times": taken[ORIGINAL],
                "beside": {"name": other if other == ORIGINAL else folders["onnx"].name, **taken[other]},
                "towers": {
                    tower: taken[f"{name} {tower}"] for tower in ("image", "text") if f"{name} {tower}" in taken
                },
            }
        )
    return rows


def told_of(report: Mapping[str, Any]) -> str:
    """Modes of the graphs and how close they stay."""
    modes = ", ".join(f"{name} {facts['mode']}" for name, facts in report["graphs"].items())
    close = report["cosine_to_fp32"]
    return f"{modes}; cosine to fp32 {', '.join(f'{name} {value:.4f}' for name, value in close.items())}"
