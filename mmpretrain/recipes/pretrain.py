"""Pretraining, told from top to bottom: check, build, resume, train, evaluate, report."""

import hashlib
import json
import math
import platform
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from rich.console import Console

from mmpretrain.core.batch import Fault
from mmpretrain.core.distributed import World, on_all, on_main, world
from mmpretrain.core.errors import ConfigError, DataError, Interrupted, MmpretrainError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.lock import locked
from mmpretrain.core.phases import phase
from mmpretrain.core.run import Run, list_checkpoints, step_of
from mmpretrain.core.settings import difference, dump, to_yaml
from mmpretrain.core.weights import load_tensors
from mmpretrain.data.streaming import NOTICE
from mmpretrain.data.training import TrainingData, check_batch
from mmpretrain.engines.base import Engine, OptimizerState
from mmpretrain.recipes.assemble import (
    Parts,
    build_engine,
    build_parts,
    frozen_towers,
    index_run,
    joined_world,
    measure_norms,
    require_space_for_checkpoints,
    training_batches,
)
from mmpretrain.recipes.beside import beside_of
from mmpretrain.recipes.data_facts import cut_texts, data_facts, model_facts
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.keeper import Keeper
from mmpretrain.recipes.lacks import lacks_of
from mmpretrain.recipes.risks import risks_of
from mmpretrain.recipes.settings import Pretrain, load_pretrain, read_run, require_trackers
from mmpretrain.recipes.starts.origin import find_origin
from mmpretrain.track.base import Origin
from mmpretrain.track.feed import Add, tracking
from mmpretrain.train import checkpoint
from mmpretrain.train.guards import StopRequest
from mmpretrain.train.loop import Guards, Outcome, run
from mmpretrain.train.metrics import Display
from mmpretrain.train.restarts import Choice, Restarts
from mmpretrain.train.watch import watching


def pretrain(path: Path, overrides: Sequence[str], resume: str, console: Console) -> Run:
    """Run a config from its first to its last step, or from its newest checkpoint on.

    Args:
        resume: `auto` continues an unfinished run, `never` wants a new folder, a number takes that step.

    Raises:
        Interrupted: a signal ended it; the checkpoint is saved and the same command resumes.
    """
    config = load_pretrain(path, overrides)
    require_trackers(config)
    place = Run(Path(config.run.folder))
    with ExitStack() as stack:
        world = stack.enter_context(joined_world(config))
        stop = stack.enter_context(StopRequest().listening())
        chosen_from = on_main(lambda: standing(place))
        choice = on_main(lambda: choose_checkpoint(place, config, resume))
        start_from = choice.folder
        on_main(lambda: index_run(config, world.size, console))
        origin = find_origin(config.init) if config.init and not start_from else None
        parts = build_parts(config, world, start_from, origin)
        check_batch(parts.data, world.size, config.train.micros(world.size))
        evaluation = Evaluation(parts, place, config.evaluation)
        if start_from is None:
            measure_norms(parts)
        else:
            on_all(lambda: refuse_other_data(start_from, parts.data))
            on_all(lambda: refuse_other_teacher(start_from, parts))
            on_all(lambda: give_frozen_towers(start_from, parts))
        beside = beside_of(parts, console)  # a wrong one leaves no run folder behind
        on_main(lambda: _ignore(stack.enter_context(locked(place.lock))))
        on_main(lambda: refuse_if_it_moved_on(place, chosen_from))
        on_main(lambda: lay_out(place, parts, evaluation, start_from))
        stack.enter_context(watching(world, place.logs, patience_of(config)))
        with phase("load"):
            engine = build_engine(parts)
            guards = Guards.of(config.train)
            start = restore(engine, guards, start_from) if start_from else 0

        with Display(console, world.is_main, start, config.train.steps) as display:
            say_what_begins(display, parts, place, start, choice)
            track = stack.enter_context(tracked(config, place, start, display))
            keeper = Keeper(parts, engine, place, evaluation, guards, display, start, track)
            batches = training_batches(parts, start, beside)
            try:
                hooks = keeper.hooks()
                outcome: Outcome = "complete"
                if not keeper.evaluate_again(start):
                    outcome = run(engine, batches, config.train, hooks, guards, start, config.data.batch, display, stop)
            except DataError as error:
                keep_last_faults(place, config.data.batch, error.faults)
                raise
            finally:
                keeper.saver.finish()
        if outcome != "complete":
            raise interrupted(place, keeper.step, signal.SIGUSR1 if outcome == "restart" else stop.signal)
        keeper.evaluate_last()
        on_main(lambda: finish(place, keeper.step))
    return place


def interrupted(place: Run, step: int, number: int | None) -> Interrupted:
    """What ends the command after a signal; noted among the run's events."""
    number = number or signal.SIGTERM  # another rank's
    on_main(lambda: place.add_event("stopped", step, signal.Signals(number).name))
    return Interrupted(number, f"{place.folder}: saved and stopped; the same command resumes")


def finish(place: Run, step: int) -> None:
    """The last word of a run."""
    place.add_event("complete", step)
    write_atomic(place.complete, f"{step}\n")


def tracked(config: Pretrain, place: Run, start: int, display: Display) -> AbstractContextManager[Add]:
    """The trackers of the config, on the main rank alone."""
    if not world().is_main:
        return nullcontext(lambda step, line: None)

    def complain(said: str) -> None:
        place.add_event("tracker", start, said)
        display.say(said)

    identity = hashlib.blake2b(place.environment.read_bytes(), digest_size=6).hexdigest()
    origin = Origin(folder=place.folder, identity=identity, step=start, config=dump(config))
    return tracking(config.track, origin, complain)


def standing(place: Run) -> list[str]:
    """What another process would change by training the run."""
    files = [place.config, place.complete, *list_checkpoints(place.checkpoints)]
    return [file.name for file in files if file.exists()]


def refuse_if_it_moved_on(place: Run, chosen_from: list[str]) -> None:
    """Data were opened and models built since a checkpoint was chosen; another process may have trained meanwhile.

    Raises:
        MmpretrainError: it has; nothing was written.
    """
    if standing(place) != chosen_from:
        raise MmpretrainError(f"{place.folder}: another process has trained this run meanwhile; start again")


def _ignore(anything: object) -> None:
    """What `on_main` would send to the other ranks."""


def patience_of(config: Pretrain) -> float:
    """Seconds without progress after which all ranks end."""
    return math.inf if config.engine.kind == "single" else config.engine.timeout_seconds


def say_what_begins(display: Display, parts: Parts, place: Run, start: int, choice: Choice) -> None:
    """What a person should know before the first step."""
    for complaint in choice.complaints:
        display.say(f"passed over: {complaint}")
    display.say(f"{place.folder}: {'resuming at step' if start else 'starting, step'} {start}")
    if parts.config.data.order == "streaming":
        display.say(NOTICE)
    if parts.world.is_main and not start:
        for lack in (*([told] if (told := cut_texts(parts)) else []), *lacks_of(parts)):
            display.say(lack)
    if parts.data.notes:
        display.say(f"{parts.data.notes:,} files of {parts.data.label} stand in no sample; data check names them")
    for note in (*parts.module.model.notes, *(() if start else (*parts.start.notes(), *risks_of(parts)))):
        display.say(note)


def choose_checkpoint(place: Run, config: Pretrain, resume: str) -> Choice:
    """Which checkpoint the run continues from, None for a new one, and why not from a newer one.

    Raises:
        ConfigError: the folder holds a run that this command would overwrite.
    """
    if resume not in ("auto", "never") and not resume.isdigit():
        raise ConfigError(f"--resume: {resume!r} is none of auto, never and a step")
    if not place.config.is_file():
        if resume.isdigit():
            raise ConfigError(f"{place.folder}: no run to resume; leave --resume out")
        return Choice(None, [])
    if resume == "never" or place.complete.exists():
        state = "is complete" if place.complete.exists() else "exists; --resume auto continues it"
        raise ConfigError(f"{place.folder}: this run {state}; a new one needs another run.folder=PATH")
    refuse_other_config(place, config)
    if resume.isdigit():
        steps = {step_of(folder): folder for folder in list_checkpoints(place.checkpoints)}
        if int(resume) not in steps:
            there = ", ".join(map(str, sorted(steps))) or "none"
            raise ConfigError(f"--resume: {place.folder} has no checkpoint of step {resume}; there are {there}")
        return Choice(steps[int(resume)], [])
    choice = Restarts(place.restarts).choose(place.checkpoints, config.train.steps)
    if choice.folder is None and choice.complaints:
        told = "\n".join(choice.complaints)
        raise ConfigError(
            f"{told}\n{place.folder}: none of its checkpoints can be used; start anew with another run.folder"
        )
    return choice


def refuse_other_config(place: Run, config: Pretrain) -> None:
    """Name each key in which the run's config and the new one differ; the engine and evaluation may change.

    Raises:
        ConfigError: some other key differs.
    """
    free = (
        "engine.",
        "evaluation",
        "track",
        "data.workers",
        "data.verify",
        "data.storage.",
        "data.breaker",
        "data.on_damage",
        "train.log_every",
        "train.micro_batches",
        "train.save_every",
        "train.evaluate_every",
        "train.save_minutes",
        "train.save_beside",
        "train.keep_last",
        "train.keep_best",
        "train.compare_every",
        "train.max_skips",
        "train.spike",
    )
    changed = [
        f"{key}: the run in {place.folder} has {old!r}, this command {new!r}"
        for key, old, new in difference(dump(read_run(place.folder)), dump(config))
        if not key.startswith(free)
    ]
    if changed:
        raise ConfigError(
            "\n".join([*changed, f"{place.folder}: give the run's own values, or another run.folder=PATH"])
        )


def restore(engine: Engine, guards: Guards, folder: Path) -> int:
    """Load a checkpoint into the engine; returns the step to go on with."""
    found = on_all(lambda: checkpoint.load(folder))
    state = OptimizerState(moments=found.moments, steps=found.optimizer_steps, loss_scale=found.state["loss_scale"])
    engine.load(found.weights, state, found.average)
    guards.load(found.state["guards"])
    return found.step


def give_frozen_towers(folder: Path, parts: Parts) -> None:
    """Weights to towers that are asked once, before there is an engine to load them into.

    Averaged weights play no role: what does not learn is its own average.
    """
    if frozen_towers(parts):
        parts.module.load_state_dict(load_tensors(folder / "weights.safetensors"), strict=False)


def refuse_other_data(folder: Path, data: TrainingData) -> None:
    """Refuse to go on in the order of other shards than those that the run began with.

    Raises:
        DataError: a source's digest differs from the checkpoint's; names the source.
    """
    began = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    changed = [name for name, found in data.digests().items() if began.get(name) != found]
    if changed:
        raise DataError(
            f"{', '.join(changed)}: not the shards that {folder.parent.parent} was trained on; restore them, or start "
            "anew with another run.folder=PATH"
        )


def refuse_other_teacher(folder: Path, parts: Parts) -> None:
    """Refuse to go on with another text teacher than the one that the run began with.

    Raises:
        ConfigError: its weights differ from those that the checkpoint names.
    """
    file, teacher = folder / "teacher.json", parts.text_teacher
    if teacher is not None and file.exists() and json.loads(file.read_text(encoding="utf-8")) != teacher.identity:
        raise ConfigError(
            f"{teacher.name}: has other weights than when {folder.parent.parent} began to learn from it; restore them, "
            "or start anew with another run.folder=PATH"
        )


def lay_out(place: Run, parts: Parts, evaluation: Evaluation, start_from: Path | None) -> None:
    """The run folder and what the report will want to know of data and model."""
    steps = parts.config.train.steps
    require_space_for_checkpoints(parts)
    if start_from is not None or place.config.is_file():
        start = step_of(start_from) if start_from else 0
        checkpoint.put_aside(place.checkpoints, start)
        place.forget_after(start)
        Restarts(place.restarts).begin(start)
        place.add_event("resumed", start, where(parts))
        return
    place.create(to_yaml(parts.config))
    write_atomic(place.folder / "data.json", json.dumps(data_facts(parts, evaluation.datasets)))
    write_atomic(place.folder / "model.json", json.dumps(model_facts(parts, steps), indent=1))
    Restarts(place.restarts).begin(0)
    place.add_event("started", 0, where(parts))


def where(parts: Parts) -> str:
    """What a start runs on, which may be another machine than that of the first."""
    ranks = f"{parts.world.size} ranks" if parts.world.size > 1 else "1 process"
    return f"{ranks}, {parts.config.engine.kind}, on {platform.node()}"


def keep_last_faults(place: Run, batch: int, faults: Sequence[Fault]) -> None:
    """The samples that ended a run stand in its ledger too, though no step took others in their place."""
    if world().is_main:
        for fault in faults:
            place.add_fault({"step": fault.position // batch + 1, **fault._asdict()})


def say_what_is_next(place: Run, console: Console) -> None:
    if World.from_environment().is_main:
        console.print(f"{place.folder}: complete; next: mmpretrain report {place.folder}", soft_wrap=True)
