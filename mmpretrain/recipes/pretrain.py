"""Pretraining, told from top to bottom: check, build, resume, train, evaluate, report."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mmpretrain.core.batch import Batch, Fault
from mmpretrain.core.distributed import World, gather_objects, on_all, on_main, world
from mmpretrain.core.errors import ConfigError, DataError, Interrupted
from mmpretrain.core.files import read_json_lines, write_atomic
from mmpretrain.core.run import Run, list_checkpoints, step_of
from mmpretrain.core.settings import difference, digest, dump, read_yaml, to_yaml
from mmpretrain.data.ledger import Ledger
from mmpretrain.data.streaming import NOTICE
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.data.training import TrainingData, check_batch
from mmpretrain.engines.base import Engine, OptimizerState
from mmpretrain.recipes.assemble import (
    Parts,
    build_engine,
    build_parts,
    index_run,
    joined_world,
    measure_norms,
    require_space_for_checkpoints,
    training_batches,
)
from mmpretrain.recipes.data_facts import cut_texts, data_facts, model_facts
from mmpretrain.recipes.evaluate import Evaluation
from mmpretrain.recipes.settings import Pretrain, load_pretrain
from mmpretrain.recipes.teacher import teacher_of
from mmpretrain.train import checkpoint
from mmpretrain.train.guards import StopRequest
from mmpretrain.train.loop import Hooks, run
from mmpretrain.train.metrics import Display


def pretrain(path: Path, overrides: Sequence[str], resume: str, console: Console) -> Run:
    """Run a config from its first to its last step, or from its newest checkpoint on.

    Args:
        resume: `auto` continues an unfinished run, `never` wants a new folder, a number takes that step.

    Raises:
        Interrupted: a signal ended it; the checkpoint is saved and the same command resumes.
    """
    config = load_pretrain(path, overrides)
    place = Run(Path(config.run.folder))
    with joined_world(config) as world, StopRequest().listening() as stop:
        start_from = on_main(lambda: choose_checkpoint(place, config, resume))
        on_main(lambda: index_run(config, world.size, console))
        tokenizer = tokenizer_of(start_from, config) if start_from else None
        parts = build_parts(config, world, tokenizer)
        check_batch(parts.data, world.size, config.train.micro_batches)
        evaluation = Evaluation(parts, place, config.evaluation)
        if start_from is None:
            measure_norms(parts)
        else:
            on_all(lambda: refuse_other_data(start_from, parts.data))
        on_main(lambda: lay_out(place, parts, evaluation, start_from))
        teacher = teacher_of(parts, console)
        engine = build_engine(parts)
        start = restore(engine, start_from) if start_from else 0

        with Display(console, world.is_main, start, config.train.steps) as display:
            display.say(f"{place.folder}: {'resuming at step' if start else 'starting, step'} {start}")
            if config.data.order == "streaming":
                display.say(NOTICE)
            if world.is_main and not start and (told := cut_texts(parts)):
                display.say(told)
            if parts.data.notes:
                display.say(
                    f"{parts.data.notes:,} files of {parts.data.label} stand in no sample; data check names them"
                )
            for note in parts.module.model.notes:
                display.say(note)
            hooks = make_hooks(parts, engine, place, evaluation, display)
            batches = training_batches(parts, start, teacher)
            try:
                done = run(engine, batches, config.train, hooks, start, config.data.batch, display, stop)
            except DataError as error:
                keep_last_faults(place, config.data.batch, error.faults)
                raise
        if not done:
            first = next(number for number in gather_objects(stop.signal) if number is not None)
            raise Interrupted(first, f"{place.folder}: saved and stopped; the same command resumes")
        evaluation.run(engine, config.train.steps, display, with_examples=True)
        on_main(lambda: write_atomic(place.complete, f"{config.train.steps}\n"))
    return place


def choose_checkpoint(place: Run, config: Pretrain, resume: str) -> Path | None:
    """Which checkpoint the run continues from, None for a new one.

    Raises:
        ConfigError: the folder holds a run that this command would overwrite.
    """
    if resume not in ("auto", "never") and not resume.isdigit():
        raise ConfigError(f"--resume: {resume!r} is none of auto, never and a step")
    if not place.config.is_file():
        if resume.isdigit():
            raise ConfigError(f"{place.folder}: no run to resume; leave --resume out")
        return None
    if resume == "never" or place.complete.exists():
        state = "is complete" if place.complete.exists() else "exists; --resume auto continues it"
        raise ConfigError(f"{place.folder}: this run {state}; a new one needs another run.folder=PATH")
    refuse_other_config(place, config)
    if resume.isdigit():
        steps = {step_of(folder): folder for folder in list_checkpoints(place.checkpoints)}
        if int(resume) not in steps:
            there = ", ".join(map(str, sorted(steps))) or "none"
            raise ConfigError(f"--resume: {place.folder} has no checkpoint of step {resume}; there are {there}")
        return steps[int(resume)]
    folder, _ = checkpoint.find_newest(place.checkpoints)
    return folder


def refuse_other_config(place: Run, config: Pretrain) -> None:
    """Name each key in which the run's config and the new one differ; the engine and evaluation may change.

    Raises:
        ConfigError: some other key differs.
    """
    free = (
        "engine.",
        "evaluation",
        "data.workers",
        "data.verify",
        "data.storage.",
        "data.breaker",
        "data.on_damage",
        "train.log_every",
        "train.micro_batches",
        "train.save_every",
        "train.evaluate_every",
        "train.keep_last",
    )
    changed = [
        f"{key}: the run in {place.folder} has {old!r}, this command {new!r}"
        for key, old, new in difference(read_yaml(place.config), dump(config))
        if not key.startswith(free)
    ]
    if changed:
        raise ConfigError(
            "\n".join([*changed, f"{place.folder}: give the run's own values, or another run.folder=PATH"])
        )


def tokenizer_of(folder: Path, config: Pretrain) -> Tokenizer:
    return load_tokenizer(folder / "tokenizer.json", config.data.tokenizer.context_length)


def restore(engine: Engine, folder: Path) -> int:
    """Load a checkpoint into the engine; returns the step to go on with."""
    found = checkpoint.load(folder)
    engine.load(found.weights, OptimizerState(moments=found.moments, steps=found.optimizer_steps), found.average)
    return found.step


def refuse_other_data(folder: Path, data: TrainingData) -> None:
    """Refuse to go on in the order of other shards than those that the run began with.

    Raises:
        DataError: a source's digest differs from the checkpoint's; names the source.
    """
    file = folder / "data.json"
    began = json.loads(file.read_text(encoding="utf-8")) if file.exists() else data.digests()
    changed = [name for name, found in data.digests().items() if began.get(name) != found]
    if changed:
        raise DataError(
            f"{', '.join(changed)}: not the shards that {folder.parent.parent} was trained on; restore them, or start "
            "anew with another run.folder=PATH"
        )


def lay_out(place: Run, parts: Parts, evaluation: Evaluation, start_from: Path | None) -> None:
    """The run folder and what the report will want to know of data and model."""
    steps = parts.config.train.steps
    require_space_for_checkpoints(parts)
    if start_from is not None or place.config.is_file():
        place.forget_after(step_of(start_from) if start_from else 0)
        return
    place.create(to_yaml(parts.config))
    write_atomic(place.folder / "data.json", json.dumps(data_facts(parts, evaluation.datasets)))
    write_atomic(place.folder / "model.json", json.dumps(model_facts(parts, steps), indent=1))


def make_hooks(parts: Parts, engine: Engine, place: Run, evaluation: Evaluation, display: Display) -> Hooks:
    """What the loop does now and then, on this rank."""
    config = parts.config
    texts = {
        "tokenizer.json": parts.tokenizer.to_json(),
        "config.yaml": to_yaml(config),
        "data.json": json.dumps(parts.data.digests(), indent=1),
    }

    def log(record: dict) -> None:
        if parts.world.is_main:
            place.add_metrics(record)

    def save(step: int) -> None:
        checkpoint.save(place.checkpoints, engine, step, step * config.data.batch, digest(config), texts)
        if parts.world.is_main:
            checkpoint.prune(place.checkpoints, config.train.keep_last)

    def evaluate(step: int) -> None:
        evaluation.run(engine, step, display)

    ledger = Ledger(config.data.breaker, config.data.batch)
    ledger.refill(on_main(lambda: read_json_lines(place.ledger)))

    def account(step: int, micro_batches: Sequence[Batch]) -> None:
        mine = [fault for batch in micro_batches for fault in batch.faults]
        records = ledger.account(step, [fault for part in gather_objects(mine) for fault in part])
        if parts.world.is_main:
            for record in records:
                place.add_fault(record)
        ledger.check()

    return Hooks(
        account=account,
        rate=lambda step: config.optim.schedule.at(step, config.train.steps),
        log=log,
        evaluate=evaluate,
        save=save,
    )


def keep_last_faults(place: Run, batch: int, faults: Sequence[Fault]) -> None:
    """The samples that ended a run stand in its ledger too, though no step took others in their place."""
    if world().is_main:
        for fault in faults:
            place.add_fault({"step": fault.position // batch + 1, **fault._asdict()})


def say_what_is_next(place: Run, console: Console) -> None:
    if World.from_environment().is_main:
        console.print(f"{place.folder}: complete; next: mmpretrain report {place.folder}", soft_wrap=True)
