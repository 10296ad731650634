"""Run on every rank by test_engines: takes each engine through all cases once and leaves what it saw in a folder.

One launch for everything, because importing DeepSpeed takes longer than all these steps.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from trial import DISTRIBUTED, EMA, ENGINES, SAVED, SOURCES, STEPS, build_engine, build_module, poisoned, run
from trial import Poisonable, embed_all, load_state, save_state, save_weights

from mmpretrain.core.distributed import process_group, world

Report = dict[str, Any]


def parity(kind: str) -> Report:
    """Every parameter trains; one and three micro-batches."""
    return {f"micros {n}": run(build_engine(ENGINES[kind], build_module()), range(STEPS), n) for n in (1, 3)}


def interrupted(kind: str, folder: Path) -> Report:
    """Leave the state of the middle behind and go on to the end."""
    engine = build_engine(ENGINES[kind], build_module(frozen=True), EMA)
    first = run(engine, range(SAVED))
    save_state(engine, folder / kind)
    rest = run(engine, range(SAVED, STEPS))
    save_weights(engine, folder / kind / "end")
    return {"records": first + rest}


def resumed(kind: str, folder: Path) -> Report:
    """An engine with other initial weights takes over each state in turn."""
    engine = build_engine(ENGINES[kind], build_module(seed=1, frozen=True), EMA)
    report = {}
    for source in dict.fromkeys((kind, *SOURCES)):
        load_state(engine, folder / source)
        report[source] = run(engine, range(SAVED, STEPS))
        save_weights(engine, folder / kind / f"from_{source}")
    return report


def skipping(kind: str, folder: Path) -> Report:
    """Two bad steps on the last rank alone, then the good ones."""
    module = build_module(seed=1, frozen=True, kind=Poisonable)
    engine = build_engine(ENGINES[kind], module, EMA)
    load_state(engine, folder / kind)
    before, moments, average = engine.weights(), engine.optimizer_state().moments, engine.weights(averaged=True)
    bad = [*poisoned(engine, module, "loss", micros=3), *poisoned(engine, module, "gradient", micros=1)]
    after = [engine.weights(), engine.optimizer_state().moments, engine.weights(averaged=True)]
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in zip((before, moments, average), after)]
    return {"bad": bad, "same": same, "records": run(engine, range(SAVED, STEPS))}


def evaluated(kind: str, folder: Path) -> Report:
    """Features of 13 rows in rounds of 4 a rank, with the average and then, in training, without any trace of it."""
    engine = build_engine(ENGINES[kind], build_module(seed=1, frozen=True), EMA)
    load_state(engine, folder / kind)
    features = embed_all(engine)
    if world().is_main:
        torch.save(features, folder / kind / "features.pt")
    return {"training": engine.module.training, "records": run(engine, range(SAVED, STEPS))}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    report: dict[str, Report] = {}
    with process_group("gloo", 60):
        for kind in DISTRIBUTED:
            report[kind] = {"parity": parity(kind), "interrupted": interrupted(kind, folder)}
        for kind in DISTRIBUTED:
            for case in (resumed, skipping, evaluated):
                report[kind][case.__name__] = case(kind, folder)
        if world().is_main:
            (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
