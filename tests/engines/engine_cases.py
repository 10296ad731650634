"""What each engine goes through; every rank calls, and the main one leaves tensors in a folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from engine_trial import (
    EMA,
    ENGINES,
    KINDS,
    SAVED,
    STEPS,
    VARIANTS,
    build_engine,
    build_module,
    load_state,
    micro_batches,
    read_state,
    rows,
    run,
    save_state,
    save_weights,
)
from torch import Tensor

from mmpretrain.core.batch import Features, Shares
from mmpretrain.core.distributed import gather_objects, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.engines.base import Engine
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.train.step import train_step

Records = list[dict[str, Any]]


def uninterrupted(kind: str, micros: int) -> Records:
    """Every parameter trains."""
    return run(build_engine(ENGINES[kind], build_module()), range(STEPS), micros)


def interrupted(kind: str, folder: Path, micros: int) -> Records:
    """A frozen embedding and an average of the weights; leaves the state of the middle behind and goes on."""
    engine = build_engine(ENGINES[kind], build_module(frozen=True), EMA)
    records = run(engine, range(SAVED), micros)
    save_state(engine, folder)
    records += run(engine, range(SAVED, STEPS), micros)
    save_weights(engine, folder / "end")
    save_state(engine, folder / "end_state")
    return records


def disturbed(kind: str, folder: Path) -> dict[str, Any]:
    """The same from the middle on, after an evaluation, two bad steps, half a step and a refused checkpoint."""
    module = build_module(seed=1, frozen=True, kind=Poisonable)
    engine = build_engine(ENGINES[kind], module, EMA)
    load_state(engine, folder)
    before = everything(engine)
    features = embed_all(engine)
    bad = {
        "gradient": poisoned(engine, module, "gradient", micros=1),
        "loss": poisoned(engine, module, "loss", micros=3),
    }
    half_a_step(engine)
    refused = refusal(engine, folder) if kind.startswith("zero") else ""
    after = everything(engine)
    records = run(engine, range(SAVED, STEPS), micros=3)
    save_weights(engine, folder / "disturbed_end")
    if world().is_main:
        torch.save(features, folder / "features.pt")
    return {
        "bad": bad,
        "refused": refused,
        "changed": [name for name in before if not torch.equal(before[name], after[name])],
        "training": module.training,
        "records": records,
    }


def resumed(kind: str, folder: Path) -> dict[str, Records]:
    """What each other engine left in the middle, taken to the end; one engine takes over from all in turn."""
    engine = build_engine(ENGINES[kind], build_module(seed=1, frozen=True), EMA)
    records = {}
    for source in KINDS:
        if source != kind:
            load_state(engine, folder / source)
            records[source] = run(engine, range(SAVED, STEPS))
            save_weights(engine, folder / kind / f"from_{source}")
    return records


def varied(name: str, folder: Path) -> Records:
    """An engine with other settings, from the middle on over three micro-batches; it also gives its state by name.

    Before that, steps of one and three micro-batches are kept from the weights, and half a step is given up.
    """
    engine = build_engine(VARIANTS[name], build_module(seed=1, frozen=True), EMA)
    load_state(engine, folder / name.partition("_")[0])
    for micros in (1, 3, 1):
        train_step(engine, micro_batches(100, micros), seed=0, complaint=lambda loss: "a spike")
    half_a_step(engine)
    records = run(engine, range(SAVED, STEPS), micros=3)
    save_state(engine, folder / name)
    save_weights(engine, folder / name / "end")
    return records


def in_bf16(kind: str) -> Records:
    """One step whose matrix products run in bf16."""
    return run(build_engine(replace(ENGINES[kind], precision="bf16"), build_module()), range(1))


# -- disturbances -----------------------------------------------------------------------------------------


class Poisonable(TrainingModule):
    """A module that can be told to spoil its loss, or its gradient alone."""

    poison: str | None = None

    def _global_shares(self, features: Features, counts: Tensor) -> Shares:
        shares = super()._global_shares(features, counts)
        if self.poison == "loss":
            return shares._replace(total=shares.total * torch.nan)
        if self.poison == "gradient":
            shares.total.register_hook(lambda gradient: gradient * torch.nan)
        return shares


def poisoned(engine: Engine, module: Poisonable, poison: str, micros: int) -> dict[str, Any]:
    """One step that is bad on the last rank alone."""
    if world().rank == world().size - 1:
        module.poison = poison
    (said,) = run(engine, range(100, 101), micros)
    module.poison = None
    return said


def half_a_step(engine: Engine) -> None:
    """A backward in the middle of an accumulation, then no step."""
    (batch,) = micro_batches(100, 1)
    engine.backward(engine.forward("live", batch, torch.tensor([1.0]), sync=False).total, sync=False)
    engine.skip()


def refusal(engine: Engine, folder: Path) -> str:
    """What an engine says to a checkpoint whose parameters took different numbers of steps."""
    weights, state, average = read_state(folder)
    steps = dict(state.steps)
    steps[next(iter(steps))] -= 1
    try:
        engine.load(weights, replace(state, steps=steps), average)
    except MmpretrainError as error:
        return str(error)
    return ""


def everything(engine: Engine) -> dict[str, Tensor]:
    average = {f"average {name}": tensor for name, tensor in engine.weights(averaged=True).items()}
    return engine.weights() | average | engine.optimizer_state().moments


def embed_all(engine: Engine, length: int = 13, size: int = 4) -> tuple[Tensor, Tensor]:
    """Averaged weights' features of `length` rows, in rounds of `size` a rank; what fills the last one is dropped."""
    here = world()
    parts = []
    with engine.evaluating():
        for number in range(-(-length // (size * here.size))):
            start = (number * here.size + here.rank) * size
            features = engine.forward("embed", rows(range(start, start + size)))
            parts.append((start, features.image_BE, features.text_BE))
    everyone = sorted((part for rank in gather_objects(parts) for part in rank), key=lambda part: part[0])
    images, texts = (torch.cat([part[which] for part in everyone]) for which in (1, 2))
    return images[:length], texts[:length]
