"""Structured pruning: heads, channels and layers leave the model for good, the least important first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.compression.importance import Score, importance
from mmpretrain.compression.structure import (
    Group,
    Stack,
    What,
    group_without,
    groups_of,
    image_stack,
    narrowed,
    shortened,
    sums_by_unit,
    sums_over,
    text_stack,
    without_blocks,
)
from mmpretrain.compression.work import Changed, Step, Work
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.towers.model import Towers
from mmpretrain.towers.narrow import cut


@settings
class Prune(Step):
    """Take out what matters least, and write the smaller model that is left."""

    kind: Literal["prune"] = "prune"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Of the parameters in what can be pruned, to take out."""
    what: Annotated[list[What], Field(min_length=1)] = field(default_factory=lambda: ["heads", "mlp", "channels"])
    """heads of attention; mlp: channels inside an MLP; channels of convolutions inside a residual block. Text blocks
    keep one number of heads and one width, each part of the image tower its own."""
    text_layers: Annotated[int, Field(ge=0)] = 0
    """Blocks of the text transformer to take out before anything else."""
    image_layers: Annotated[int, Field(ge=0)] = 0
    """The same of a vision transformer of timm."""
    score: Score = "taylor"
    """taylor: the change of the run's own loss, to first order; magnitude: the size of weights, which needs no data."""
    batches: Annotated[int, Field(gt=0)] = 8
    """Training batches that taylor looks at."""
    multiple_of: Annotated[int, Field(gt=0)] = 8
    """Channels leave in so many at a time, because matrix units count in them."""
    least: Annotated[float, Field(gt=0, le=1)] = 0.125
    """Share of its units that every part keeps."""

    def __post_init__(self) -> None:
        if not (self.share or self.text_layers or self.image_layers):
            raise ValueError("share: 0 takes nothing out; give a share, text_layers or image_layers")

    def apply(self, work: Work) -> Changed:
        return prune(self, work)


def prune(step: Prune, work: Work) -> Changed:
    """The smaller model.

    Raises:
        ConfigError: the towers have nothing, or not as much, that could be taken out.
    """
    groups, stacks = groups_of(work.module, step.what), chosen_stacks(step, work)
    if step.share and not groups:
        raise ConfigError(f"steps: prune: {nothing(work.towers, step.what)}")
    folds = {part.name: sums_by_unit(part) for group in groups for part in group.parts}
    for stack, _ in stacks:
        folds |= {f"{stack.setting} {n}": sums_over(names) for n, names in enumerate(stack.branches)}
    batches = work.batches(step.batches) if step.score == "taylor" else ()
    scores = importance(work.module, folds, step.score, batches)
    towers, tensors = work.towers, work.tensors
    learned = {name: tensors[name] for name, _ in work.module.named_parameters()}
    before = remaining(learned, groups, {})
    told, layers = [], {}
    for stack, count in stacks:
        gone = layers[stack.setting] = sorted(order_of(stack, scores)[:count].tolist())
        towers = shortened(towers, stack, gone)
        tensors, learned, scores = (without_blocks(stack, gone, each) for each in (tensors, learned, scores))
        shorter = [group_without(group, stack, gone) for group in groups]
        groups = [group for group in shorter if group is not None]
        told.append(f"{count} of {stack.blocks} {stack.setting} layers (number {', '.join(map(str, gone))})")
    widths = choose(step, groups, scores, learned, before)
    cuts = [group for group in groups if group.setting in widths]
    keep = {part.name: best(scores[part.name], widths[group.setting]) for group in cuts for part in group.parts}
    told += [f"{group.setting} {group.units} -> {widths[group.setting]}" for group in cuts]
    return Changed(
        towers=learning(narrowed(towers, groups, widths)),
        tensors=cut([part for group in cuts for part in group.parts], keep, tensors),
        tokenizer=work.tokenizer,
        keep=keep,
        told=", ".join(told),
        facts={"layers": layers, "widths": {each.setting: [each.units, widths[each.setting]] for each in cuts}},
    )


def chosen_stacks(step: Prune, work: Work) -> list[tuple[Stack, int]]:
    """What layers are to be taken from, and how many.

    Raises:
        ConfigError: there are none, or all of them are to go.
    """
    found = []
    for stack, count, setting in (
        (text_stack(work.module), step.text_layers, "text_layers"),
        (image_stack(work.module, work.towers), step.image_layers, "image_layers"),
    ):
        if count and stack is None:
            raise ConfigError(
                f"steps: prune.{setting}: layers can be taken from a text tower of several without fusion or decoder, "
                "and from a vision transformer of timm; this run has none; leave it out"
            )
        if count and stack is not None and count >= stack.blocks:
            raise ConfigError(f"steps: prune.{setting}: {count} of {stack.blocks} layers leave none; use fewer")
        if count and stack is not None:
            found.append((stack, count))
    return found


def nothing(towers: Towers, what: Sequence[What]) -> str:
    """Why nothing can be pruned."""
    image = f"{towers.image.name}, norm {towers.image.norm}" if towers.image else "no image tower"
    return (
        f"nothing to take out: {', '.join(what)} of these towers ({image}) cannot be said by a config; transformers of "
        "text, ResNets with BatchNorm and vision transformers of timm can be pruned"
    )


# -- which and how many -------------------------------------------------------------------------------------


def order_of(stack: Stack, scores: Mapping[str, Tensor]) -> Tensor:
    """Numbers of blocks, the least important first."""
    return torch.cat([scores[f"{stack.setting} {n}"] for n in range(stack.blocks)]).argsort()


def best(scores_U: Tensor, count: int) -> Tensor:
    """The units with the highest scores, in rising order."""
    return scores_U.argsort(descending=True, stable=True)[:count].sort().values


@dataclass(frozen=True)
class Chunk:
    """Units of a group that leave together: as many of each of its parts."""

    density: float
    """Importance lost for each parameter that leaves."""
    group: str
    left: int
    """Units of the group after it."""


def choose(
    step: Prune, groups: Sequence[Group], scores: Mapping[str, Tensor], tensors: Mapping[str, Tensor], before: int
) -> dict[str, int]:
    """Units that each group keeps, by its setting; of groups that are not named all stay.

    Chunks leave one by one, those first whose parameters matter least, until the share is reached.

    Raises:
        ConfigError: all that may leave is less than the share.
    """
    wanted = (1 - step.share) * before
    widths: dict[str, int] = {}
    left = remaining(tensors, groups, widths)
    for chunk in sorted(chunks_of(step, groups, scores, tensors), key=lambda each: each.density):
        if left <= wanted:
            break
        widths[chunk.group] = chunk.left
        left = remaining(tensors, groups, widths)
    if left > wanted and step.share:
        most = 1 - left / before
        raise ConfigError(
            f"steps: prune.share: {step.share:g} of what can be pruned, and at most {most:.2f} can be taken out with "
            f"least={step.least:g}; use a smaller share or least, or text_layers"
        )
    return widths


def chunks_of(
    step: Prune, groups: Sequence[Group], scores: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> list[Chunk]:
    """All that may leave; within a group in rising order of density, because units leave in the order of scores."""
    found = []
    whole = remaining(tensors, groups, {})
    for group in groups:
        # the j-th best unit of every part leaves together
        ranked = torch.stack([scores[part.name].sort(descending=True).values for part in group.parts]).sum(dim=0)
        size = 1 if group.what == "heads" else min(step.multiple_of, max(1, group.units // 2))
        least = max(size if group.what != "heads" else 1, math.ceil(step.least * group.units))
        each = (whole - remaining(tensors, groups, {group.setting: group.units - 1})) or 1
        left = group.units
        while left - (taken := left % size or size) >= least:
            lost = float(ranked[left - taken : left].sum())
            left -= taken
            found.append(Chunk(density=lost / (taken * each), group=group.setting, left=left))
    return found


def remaining(tensors: Mapping[str, Tensor], groups: Sequence[Group], widths: Mapping[str, int]) -> int:
    """Parameters in all that belongs to a part, after groups were cut to some widths."""
    shapes: dict[str, list[int]] = {}
    for group in groups:
        for part in group.parts:
            for name, axis, _ in part.tensors:
                shape = shapes.setdefault(name, list(tensors[name].shape)) if name in tensors else None
                if shape is not None:
                    shape[axis] = shape[axis] * widths.get(group.setting, group.units) // group.units
    return sum(math.prod(shape) for shape in shapes.values())


def learning(towers: Towers) -> Towers:
    """Nothing stays frozen: what is left has to learn to do without the rest."""
    image = replace(towers.image, frozen_blocks=0) if towers.image else None
    return replace(towers, image=image, text=replace(towers.text, frozen_blocks=0), cache=None)
