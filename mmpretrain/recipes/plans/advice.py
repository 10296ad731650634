"""What to change in a config that does not fit, each change planned like the config itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from mmpretrain.core.errors import ConfigError
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.planning.plan import FRAGMENTS, RESERVE, Column, Plan
from mmpretrain.recipes.settings import Pretrain

GROWS_WITH_ROWS = ("activations", "objectives", "batch")
Change = tuple[str, ...]
"""Overrides, as the command line takes them."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One change and what it gives."""

    change: Change
    needed: float
    """Bytes of a GPU."""
    fits: bool
    samples_per_second: float


def advise(config: Pretrain, plan: Plan, memory: float, replan: Callable[[Change], Plan]) -> list[Advice]:
    """Changes of a config that needs more than `memory` bytes of a GPU; those that the model cannot take are left out.

    Args:
        replan: overrides to the plan with them.
    """
    found = [advice_of(column, (zero_change(plan, column.engine[-1]),)) for column in zero(plan)]
    for change in changes(config):
        found += try_out(change, replan)
    if config.towers.norm != "batch":
        smaller = micro_changes(config, plan, memory)
        found += until_fits(smaller, replan)
        if not any(advice.fits for advice in found) and (thrifty := checkpointing(config)):
            found += until_fits([(*thrifty, *change) for change in smaller], replan)
    return found


def zero(plan: Plan) -> Iterator[Column]:
    """Stages of ZeRO that need less than the config's engine."""
    return (
        column
        for column in plan.columns
        if column.engine.startswith("ZeRO") and not column.chosen and column.needed < plan.chosen.needed
    )


def zero_change(plan: Plan, stage: str) -> str:
    if isinstance(plan.task.engine, DeepSpeed):
        return f"engine.stage={stage}"
    precision = plan.task.engine.precision
    kept = "" if precision == "auto" else f", precision: {precision}"
    return f"engine={{kind: deepspeed, stage: {stage}{kept}}}"


def changes(config: Pretrain) -> Iterator[Change]:
    """Of the model, that leave what is learned as it is."""
    thrifty = checkpointing(config)
    yield from ((change,) for change in thrifty)
    if len(thrifty) > 1:
        yield thrifty


def checkpointing(config: Pretrain) -> Change:
    """Towers that could compute activations again."""
    image, text = config.towers.image, config.towers.text
    found = ["towers.image.checkpointing=true"] if image and not image.checkpointing and image.norm != "batch" else []
    return (*found, *([] if text.checkpointing else ["towers.text.checkpointing=true"]))


def micro_changes(config: Pretrain, plan: Plan, memory: float) -> list[Change]:
    """More micro-batches, from the first number that may fit on."""
    held = plan.chosen.memory
    grows = sum(held.get(part, 0) for part in GROWS_WITH_ROWS)
    stands = sum(held.values()) - grows
    room = (memory - RESERVE) / FRAGMENTS - stands
    factors = list(takewhile(lambda factor: plan.task.cut.rows % factor == 0, (2**power for power in range(1, 12))))
    enough = [factor for factor in factors if room > 0 and grows / factor <= room] or factors[-1:]
    return [(f"train.micro_batches={config.train.micro_batches * factor}",) for factor in enough[:3]]


def until_fits(tried: list[Change], replan: Callable[[Change], Plan]) -> Iterator[Advice]:
    """The first that fits, or the last."""
    for number, change in enumerate(tried):
        for advice in try_out(change, replan):
            if advice.fits or number == len(tried) - 1:
                yield advice
                return


def try_out(change: Change, replan: Callable[[Change], Plan]) -> list[Advice]:
    try:
        return [advice_of(replan(change).chosen, change)]
    except ConfigError:  # a trunk without checkpointing, or negatives that micro-batches would cut apart
        return []


def advice_of(column: Column, change: Change) -> Advice:
    return Advice(change=change, needed=column.needed, fits=column.fits, samples_per_second=column.samples_per_second)
