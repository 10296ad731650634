"""Runs on every rank: engines with and without torch.compile."""

import json
import sys
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import torch
from engine_trial import ENGINES, build_engine, build_module, run
from torch import nn

from mmpretrain.core.distributed import process_group, world

COMPILED = ("ddp", "zero2", "zero3")
STEPS = 2


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    # traced and cut into graphs as everywhere, but run by torch itself: compiling C++ would take minutes
    nn.Module.compile = partialmethod(nn.Module.compile, backend="eager")  # type: ignore[assignment]
    with process_group("gloo", 120):
        report = {}
        for kind in COMPILED:
            for compiled in (False, True):
                engine = build_engine(replace(ENGINES[kind], compile=compiled), build_module(layers=1))
                report[f"{kind} {compiled}"] = run(engine, range(STEPS), micros=2)
        if world().is_main:
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
            (folder / "report.json").write_text(json.dumps({"records": report, "graphs": graphs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
