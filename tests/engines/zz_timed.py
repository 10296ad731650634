"""Run on every rank by test_parity: takes each engine through all cases once and leaves what it saw in a folder.

One launch for everything, because importing DeepSpeed takes longer than most of these steps.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from trial import DISTRIBUTED, EMA, ENGINES, SAVED, SOURCES, STEPS, Poisonable, build_engine, build_module
from trial import embed_all, load_state, poisoned, run, save_state, save_weights

from mmpretrain.core.distributed import process_group, world

Report = dict[str, Any]


def uninterrupted(kind: str) -> Report:
    """Every parameter trains, in one micro-batch."""
    return {"records": run(build_engine(ENGINES[kind], build_module()), range(STEPS))}


def interrupted(kind: str, folder: Path) -> Report:
    """A frozen embedding, three micro-batches; leaves the state of the middle behind and goes on."""
    engine = build_engine(ENGINES[kind], build_module(frozen=True), EMA)
    records = run(engine, range(SAVED), micros=3)
    save_state(engine, folder / kind)
    records += run(engine, range(SAVED, STEPS), micros=3)
    save_weights(engine, folder / kind / "end")
    return {"records": records}


def disturbed(kind: str, folder: Path) -> Report:
    """The same from the middle on, in an engine with other initial weights, an evaluation and two bad steps."""
    module = build_module(seed=1, frozen=True, kind=Poisonable)
    engine = build_engine(ENGINES[kind], module, EMA)
    load_state(engine, folder / kind)
    features = embed_all(engine)
    before = state_of(engine)
    bad = [poisoned(engine, module, "loss", micros=3), poisoned(engine, module, "gradient", micros=1)]
    after = state_of(engine)
    records = run(engine, range(SAVED, STEPS), micros=3)
    save_weights(engine, folder / kind / "disturbed_end")
    if world().is_main:
        torch.save(features, folder / kind / "features.pt")
    return {
        "bad": bad,
        "same": before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before),
        "training": module.training,
        "records": records,
    }


def state_of(engine: Any) -> dict[str, torch.Tensor]:
    average = {f"average {name}": tensor for name, tensor in engine.weights(averaged=True).items()}
    return engine.weights() | average | engine.optimizer_state().moments


def resumed(kind: str, folder: Path) -> Report:
    """What each other engine left in the middle, taken to the end; one engine takes over from all in turn."""
    engine = build_engine(ENGINES[kind], build_module(seed=1, frozen=True), EMA)
    report = {}
    for source in SOURCES:
        if source != kind:
            load_state(engine, folder / source)
            report[source] = run(engine, range(SAVED, STEPS))
            save_weights(engine, folder / kind / f"from_{source}")
    return report


import time
def timed(f,*a):
    t=time.time(); x=f(*a)
    if world().is_main: print('TIME',f.__name__,a[0],'%.1f'%(time.time()-t),flush=True)
    return x
def main(folder: Path) -> None:
    torch.set_num_threads(1)
    report: dict[str, Report] = {kind: {} for kind in DISTRIBUTED}
    with process_group("gloo", 60):
        for kind in DISTRIBUTED:
            report[kind]["interrupted"] = timed(interrupted,kind, folder)
            report[kind]["disturbed"] = timed(disturbed,kind, folder)
        for kind in SOURCES[1:]:
            report[kind]["uninterrupted"] = timed(uninterrupted,kind)
            report[kind]["resumed"] = timed(resumed,kind, folder)
        if world().is_main:
            (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
