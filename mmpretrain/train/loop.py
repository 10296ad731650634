"""The loop: steps from batches, and one line for each thing that happens now and then."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import raise_together, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import settings
from mmpretrain.train.guards import SkipGuard, StopRequest
from mmpretrain.train.metrics import Display, Meter
from mmpretrain.train.step import train_step


@settings
class Train:
    """How long, and what happens now and then."""

    steps: Annotated[int, Field(gt=0)]
    """Optimizer steps of the whole run."""
    micro_batches: Annotated[int, Field(gt=0)] = 1
    """Parts that a rank cuts its rows into, to save memory; the gradient stays that of the full batch."""
    log_every: Annotated[int, Field(gt=0)] = 10
    """Steps between lines of metrics.jsonl."""
    evaluate_every: Annotated[int, Field(gt=0)] | None = None
    """Steps between evaluations; None: only at the end."""
    save_every: Annotated[int, Field(gt=0)] | None = None
    """Steps between checkpoints; None: only at the end and when stopped."""
    keep_last: Annotated[int, Field(gt=0)] = 2
    """Checkpoints that stay on disk."""
    max_skips: Annotated[int, Field(gt=0)] = 10
    """Steps in a row that may be skipped for non-finite values before the run ends."""
    seed: int = 0
    """Of initial weights and dropout."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the recipe does for the loop."""

    rate: Callable[[int], float]
    """Learning rate of a step."""
    log: Callable[[dict[str, Any]], None]
    """Keep a line of metrics."""
    evaluate: Callable[[int], None]
    """Evaluate after this many steps."""
    save: Callable[[int], None]
    """Write the checkpoint of this many steps."""
    account: Callable[[int, Sequence[Batch]], None]
    """Keep account of the samples that a step's micro-batches replaced."""


def run(
    engine: Any,
    batches: Iterator[Sequence[Batch]],
    train: Train,
    hooks: Hooks,
    start: int,
    batch: int,
    display: Display,
    stop: StopRequest,
) -> bool:
    """Train from step `start`; True when all steps were taken, False when a signal ended it after a save.

    Args:
        batches: this rank's micro-batches of each step, from `start` on.
        batch: pairs in a global batch, for the metrics.
    """
    meter, guard = Meter(), SkipGuard(train.max_skips)
    for step in range(start, train.steps):
        with meter.waiting():
            micro_batches = _next_of_all_ranks(batches)
        engine.set_rate(hooks.rate(step))
        engine.module.begin(step)
        result = train_step(engine, micro_batches, train.seed, bool(stop))
        guard.see(step, result.applied, micro_batches)
        meter.add(result)
        done, last = step + 1, step + 1 == train.steps
        if result.faults:
            hooks.account(done, micro_batches)

        record = meter.record(done, batch, hooks.rate(step)) if done % train.log_every == 0 or last else None
        if record:
            hooks.log(record)
        display.step(done, record)
        if last or result.stop or (train.save_every and done % train.save_every == 0):
            hooks.save(done)
        if train.evaluate_every and done % train.evaluate_every == 0 and not (last or result.stop):
            hooks.evaluate(done)
        if result.stop and not last:
            return False
    return True


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
