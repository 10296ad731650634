"""The loop: steps from batches, and one line for each thing that happens now and then."""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import gather_objects, raise_together, world
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.fault_points import flip_bit, reach
from mmpretrain.core.phases import phase, progress
from mmpretrain.core.settings import settings
from mmpretrain.train.guards import Policy, SkipGuard, SpikeGuard, StopRequest, compare_replicas
from mmpretrain.train.metrics import Display, Meter
from mmpretrain.train.step import StepResult, train_step

Outcome = Literal["complete", "stopped", "restart"]
"""stopped: a signal asked for it; restart: the allocation ends, and the run is to go on in another."""


@settings
class Train:
    """How long, and what happens now and then."""

    steps: Annotated[int, Field(gt=0)]
    """Optimizer steps of the whole run."""
    micro_batches: Annotated[int, Field(gt=0)] = 1
    """Parts that a rank cuts its rows into, to save memory; the gradient stays that of the full batch."""
    fixed_parts: Annotated[int, Field(gt=0)] | None = None
    """Cut the whole batch into this many parts on any number of ranks, and sum them in order (single, ddp): the weights
    end bit for bit the same on 1, 2 or 4 ranks; None: faster, and the same up to rounding."""
    log_every: Annotated[int, Field(gt=0)] = 10
    """Steps between lines of metrics.jsonl."""
    evaluate_every: Annotated[int, Field(gt=0)] | None = None
    """Steps between evaluations, each after a checkpoint; None: only at the end."""
    save_every: Annotated[int, Field(gt=0)] | None = None
    """Steps between checkpoints; None: only at the end and when stopped."""
    save_minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes after which a checkpoint is written whatever the step; None: never."""
    save_beside: bool = False
    """Write checkpoints from a thread beside training: the weights of the step are copied, and training goes on."""
    keep_last: Annotated[int, Field(gt=0)] = 2
    """Checkpoints that stay on disk."""
    keep_best: str | None = None
    """SPLIT/METRIC of an evaluation, such as val/t2i_R@10, or SPLIT/HEAD/METRIC where several give it: the
    checkpoint with the best also stays."""
    patience: Annotated[int, Field(gt=0)] | None = None
    """Evaluations in a row without a better keep_best after which the run ends early; None: never."""
    max_skips: Annotated[int, Field(gt=0)] = 10
    """Steps in a row that may be skipped for non-finite values or spikes before the run ends."""
    spikes: Policy = "warn"
    """Of a loss far above the last 200: off: not looked for, warn: told, skip: kept from the weights."""
    spike_sigmas: Annotated[float, Field(gt=0)] = 8.0
    """Robust standard deviations above the median from which a loss is a spike."""
    compare_every: Annotated[int, Field(gt=0)] | None = 500
    """Steps between comparisons of the ranks' copies of the weights (DDP, ZeRO 1 and 2), which each checkpoint has to
    pass too; None: never."""
    seed: int = 0
    """Of initial weights and dropout."""

    def micros(self, ranks: int) -> int:
        """Parts that each of so many ranks cuts its rows into.

        Raises:
            ConfigError: fixed_parts do not divide among the ranks.
        """
        if self.fixed_parts is None:
            return self.micro_batches
        if self.fixed_parts % ranks:
            raise ConfigError(f"train.fixed_parts: {self.fixed_parts} do not divide among {ranks} ranks")
        return self.fixed_parts // ranks


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the recipe does for the loop."""

    rate: Callable[[int], float]
    """Learning rate of a step."""
    log: Callable[[dict[str, Any]], None]
    """Keep a line of metrics."""
    evaluate: Callable[[int], bool]
    """Evaluate after this many steps; whether the run is to end early."""
    save: Callable[[int, bool], None]
    """Write the checkpoint of this many steps; True: nothing may be left to write when it returns."""
    account: Callable[[int, Sequence[Batch]], None]
    """Keep account of the samples that a step's micro-batches replaced."""
    refused: Callable[[int, StepResult], None]
    """Keep account of a step that was kept from the weights."""
    odd: Callable[[int, str], None]
    """Keep account of what is odd about a step that was taken."""


@dataclass(kw_only=True)
class Guards:
    """What a run remembers of its steps, beside the weights."""

    skips: SkipGuard
    spikes: SpikeGuard

    @staticmethod
    def of(train: Train) -> "Guards":
        return Guards(skips=SkipGuard(train.max_skips), spikes=SpikeGuard(train.spikes, train.spike_sigmas))

    def state(self) -> dict[str, Any]:
        """For the checkpoint: a resumed run finds what an uninterrupted one would find."""
        return {"skips_in_a_row": self.skips.in_a_row, "recent_losses": list(self.spikes.recent)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave; raises MmpretrainError where something is missing."""
        missing = [name for name in self.state() if name not in state]
        if missing:
            raise MmpretrainError(f"state.json: guards lack {', '.join(missing)}; use another checkpoint")
        self.skips.in_a_row = state["skips_in_a_row"]
        self.spikes.recent.extend(state["recent_losses"])

    def see(self, step: int, result: StepResult) -> None:
        """Note a step; raises MmpretrainError when too many in a row were skipped."""
        if result.applied:
            self.spikes.see(result.metrics["loss"])
        self.skips.see(step, result)


class Clock:
    """Says when some minutes have passed; the main rank's speaks for all."""

    def __init__(self, minutes: float | None) -> None:
        self._seconds = math.inf if minutes is None else 60 * minutes
        self.restart()

    def restart(self) -> None:
        self._since = time.monotonic()

    def due(self) -> bool:
        return world().is_main and time.monotonic() - self._since >= self._seconds


def run(
    engine: Any,
    batches: Iterator[Sequence[Batch]],
    train: Train,
    hooks: Hooks,
    guards: Guards,
    start: int,
    batch: int,
    display: Display,
    stop: StopRequest,
) -> Outcome:
    """Train from step `start` to the last one, or until some rank was asked to stop and all have saved.

    Args:
        batches: this rank's micro-batches of each step, from `start` on.
        batch: pairs in a global batch, for the metrics.
    """
    meter, clock = Meter(), Clock(train.save_minutes)
    for step in range(start, train.steps):
        done, last = step + 1, step + 1 == train.steps
        progress.step = done
        with meter.waiting(), phase("data"):
            micro_batches = _next_of_all_ranks(batches)
        engine.set_rate(hooks.rate(step), step)
        engine.module.begin(step)
        wishes = (bool(stop), stop.wants_restart, clock.due())
        fixed = train.fixed_parts is not None
        result = train_step(engine, micro_batches, train.seed, wishes, guards.spikes.complaint, fixed)
        if reach("weights"):
            flip_bit(engine.module)
        _tell(done, result, guards, hooks, display)
        guards.see(done, result)
        meter.add(result)
        stopping, restarting, save_due = result.wishes
        if result.faults:
            hooks.account(done, micro_batches)
        evaluating = bool(train.evaluate_every and done % train.evaluate_every == 0 and not last)
        # also before an evaluation, during which a time limit may pass
        saving = last or stopping or save_due or evaluating or (train.save_every and done % train.save_every == 0)
        if train.compare_every and (saving or done % train.compare_every == 0):
            compare_replicas(engine, done)

        record = meter.record(done, batch, hooks.rate(step)) if done % train.log_every == 0 or last else None
        if record:
            hooks.log(record)
        display.step(done, record)
        if saving:
            with phase("save"):
                hooks.save(done, last or stopping)
            clock.restart()
        if evaluating and not stopping:
            if _evaluate(hooks, done):
                return "complete"
            stopping, restarting = _asked(stop)
            if stopping:
                hooks.save(done, True)  # it may still be on its way
        if stopping and not last:
            return "restart" if restarting else "stopped"
    return "complete"


def _evaluate(hooks: Hooks, step: int) -> bool:
    with phase("evaluate"):
        return hooks.evaluate(step)


def _asked(stop: StopRequest) -> tuple[bool, bool]:
    """Whether some rank was asked to stop, and whether to start again."""
    asked = gather_objects((bool(stop), stop.wants_restart))
    return any(each for each, _ in asked), any(each for _, each in asked)


def _tell(step: int, result: StepResult, guards: Guards, hooks: Hooks, display: Display) -> None:
    """Say and keep what is odd about a step."""
    if result.refused:
        hooks.refused(step, result)
        display.say(f"step {step} was skipped: {result.refused}; samples: {', '.join(result.suspects[:4])} ...")
    elif spike := guards.spikes.spike(result.metrics["loss"]):
        hooks.odd(step, spike)
        display.say(f"step {step}: {spike}")


def _next_of_all_ranks(batches: Iterator[Sequence[Batch]]) -> Sequence[Batch]:
    """This rank's micro-batches, or on all ranks the error of one that has none."""
    micro_batches: Sequence[Batch] = ()
    failure: MmpretrainError | None = None
    try:
        micro_batches = next(batches)
    except MmpretrainError as error:
        failure = error
    except Exception as error:  # a loader process that was killed, a disk that is gone: the other ranks must not wait
        traceback.print_exc()
        failure = MmpretrainError(f"rank {world().rank}: {type(error).__name__}: {error}")
    raise_together(failure)
    return micro_batches
