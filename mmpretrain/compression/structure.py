"""What of a model can be cut so that a config can say what is left: groups of parts that have one width in common."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.towers.model import Towers
from mmpretrain.towers.narrow import Part, parts_of
from mmpretrain.towers.transformer import FeedForward

What = Literal["heads", "mlp", "channels"]
IMAGE = "model.image.trunk."
TEXT = ("model.text.", "model.fusion.", "model.decoder.")
"""Towers whose blocks share the text tower's settings."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parts that keep equally many units each."""

    what: What
    setting: str
    """Under `towers`, or the key of a part under `towers.image.widths`."""
    parts: tuple[Part, ...]

    @property
    def units(self) -> int:
        return self.parts[0].units


def groups_of(module: TrainingModule, what: Sequence[What]) -> list[Group]:
    """Those of some kinds: text blocks keep one number of heads and one width, each part of a picture its own."""
    found = [group for group in [*text_groups(module), *image_groups(module)] if group.what in what]
    return [group for group in found if group.units > 1]


def text_groups(module: TrainingModule) -> Iterator[Group]:
    named = dict(module.named_modules())
    parts = [part for part in parts_of(module) if part.name.startswith(TEXT)]
    inside = [part for part in parts if isinstance(named[part.name.rpartition(".")[0]], FeedForward)]
    if heads := tuple(part for part in parts if part not in inside):
        yield Group(what="heads", setting="text.heads", parts=heads)
    if inside:
        yield Group(what="mlp", setting="text.mlp_width", parts=tuple(inside))


def image_groups(module: TrainingModule) -> Iterator[Group]:
    for part in parts_of(module):
        if part.name.startswith(IMAGE):
            name = part.name.removeprefix(IMAGE)
            what: What = "heads" if name.endswith("attn") else "mlp" if "mlp" in name else "channels"
            yield Group(what=what, setting=name, parts=(part,))


def narrowed(towers: Towers, groups: Sequence[Group], widths: Mapping[str, int]) -> Towers:
    """The settings that say what is left.

    Args:
        widths: of groups, by their settings; of those that are not named nothing was cut.
    """
    text: Any = towers.text
    widened: dict[str, int] = {}
    for group in groups:
        left = widths.get(group.setting, group.units)
        if left == group.units:
            continue
        if group.setting == "text.heads":
            text = replace(text, heads=left, head_width=group.parts[0].channels)
        elif group.setting == "text.mlp_width":
            text = replace(text, mlp_width=left)
        else:
            widened[group.setting] = left
    image = replace(towers.image, widths={**towers.image.widths, **widened}) if towers.image else None
    return replace(towers, text=text, image=image)


# -- whole layers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Blocks one behind the other with a plain path around them, any of which may be left out."""

    setting: str
    """text or image."""
    prefix: str
    """Of its blocks' tensors, in front of their numbers."""
    blocks: int
    branches: tuple[tuple[str, ...], ...]
    """By block: the tensors that write onto the path."""


def text_stack(module: TrainingModule) -> Stack | None:
    """The text tower's, where nothing else shares its blocks or counts them."""
    model = module.model
    if model.text is None or model.fusion is not None or model.decoder is not None or len(model.text.blocks) < 2:
        return None
    return stack_of(module, "text", "model.text.blocks.", (".attention.output.", ".mlp.output."))


def image_stack(module: TrainingModule, towers: Towers) -> Stack | None:
    """A vision transformer's of timm, whose depth is an option."""
    trunk = getattr(module.model.image, "trunk", None)
    if type(trunk).__name__ != "VisionTransformer" or towers.image is None or towers.image.kind != "timm":
        return None
    return stack_of(module, "image", f"{IMAGE}blocks.", (".attn.proj.", ".mlp.fc2."))


def stack_of(module: TrainingModule, setting: str, prefix: str, ends: tuple[str, ...]) -> Stack:
    numbered: dict[int, list[str]] = {}
    for name, _ in module.named_parameters():
        if name.startswith(prefix):
            own = numbered.setdefault(int(name.removeprefix(prefix).partition(".")[0]), [])
            own += [name] if any(end in name for end in ends) else []
    branches = tuple(tuple(numbered[number]) for number in sorted(numbered))
    return Stack(setting=setting, prefix=prefix, blocks=len(branches), branches=branches)


def name_without(stack: Stack, gone: Sequence[int], name: str) -> str | None:
    """What a tensor or module is called after some blocks were left out; None: it was in one of them."""
    inside = re.match(rf"{re.escape(stack.prefix)}(\d+)(?=\.|$)", name)
    if inside is None:
        return name
    number = int(inside[1])
    if number in gone:
        return None
    return f"{stack.prefix}{number - sum(each < number for each in gone)}{name[inside.end() :]}"


def without_blocks(stack: Stack, gone: Sequence[int], things: Mapping[str, Any]) -> dict[str, Any]:
    """Things by names, without those of blocks that were left out."""
    named = ((name_without(stack, gone, name), thing) for name, thing in things.items())
    return {name: thing for name, thing in named if name is not None}


def group_without(group: Group, stack: Stack, gone: Sequence[int]) -> Group | None:
    """The group in the numbers of a shorter stack; None: nothing of it is left."""

    def called(name: str) -> str:
        return name_without(stack, gone, name) or ""

    parts = tuple(
        replace(
            part,
            name=called(part.name),
            tensors=tuple((called(name), axis, times) for name, axis, times in part.tensors),
            reader=called(part.reader),
        )
        for part in group.parts
        if called(part.name)
    )
    setting = group.setting if group.setting.startswith("text.") else called(IMAGE + group.setting).removeprefix(IMAGE)
    return replace(group, setting=setting, parts=parts) if parts else None


def shortened(towers: Towers, stack: Stack, gone: Sequence[int]) -> Towers:
    """The settings of a tower with fewer blocks."""
    left = stack.blocks - len(gone)
    if stack.setting == "text":
        return replace(towers, text=replace(towers.text, layers=left))
    image: Any = towers.image
    widths = without_blocks(replace(stack, prefix=stack.prefix.removeprefix(IMAGE)), gone, image.widths)
    return replace(towers, image=replace(image, options={**image.options, "depth": left}, widths=widths))


def sums_over(names: Sequence[str]) -> Any:
    """A fold over whole tensors: one number."""
    return lambda tensors: torch.stack([tensors[name].sum() for name in names if name in tensors]).sum()[None]


def sums_by_unit(part: Part) -> Any:
    """A fold over what reads the units of a part."""

    def fold(tensors: Mapping[str, Tensor]) -> Tensor:
        return part.of_units(tensors[part.reader]).sum(dim=1)

    return fold
