"""Parts of a network that may be narrower without anything outside of them changing: what pruning cuts.

A part is a row of units, each with tensors that only it has on one side and what reads it on the other: channels
between two convolutions of a residual block, heads of an attention, channels inside an MLP. A unit whose reader's
weights are zero may be taken out, and the network says the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torchvision
from timm.layers.attention import Attention as TimmAttention
from timm.layers.mlp import Mlp
from timm.models import resnet as timm_resnet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.towers.transformer import CrossAttention, FeedForward, SelfAttention


@dataclass(frozen=True, kw_only=True)
class Part:
    """One row of units."""

    name: str
    """Of the module that a person knows it by."""
    units: int
    channels: int = 1
    """Of a unit."""
    tensors: tuple[tuple[str, int, int], ...]
    """(name, axis, times): where the units stand, so many times one behind the other on that axis."""
    reader: str
    """Name of the weight that reads them, on its axis 1."""

    def places(self, units: Tensor, times: int) -> Tensor:
        """Where some units stand on an axis that holds all of them `times`."""
        own = (units[:, None] * self.channels + torch.arange(self.channels)).flatten()
        return torch.cat([own + turn * self.units * self.channels for turn in range(times)])

    def of_units(self, reader: Tensor) -> Tensor:
        """A weight that reads them as units x (the rest)."""
        return reader.movedim(1, 0).reshape(self.units, -1)


Keep = Mapping[str, Tensor]
"""Units that stay, by the name of their part, in rising order."""


def cut(parts: list[Part], keep: Keep, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without the units that do not stay."""
    found = dict(tensors)
    for part in parts:
        for name, axis, times in part.tensors if part.name in keep else ():
            found[name] = found[name].index_select(axis, part.places(keep[part.name], times))
    return found


# -- what there is ---------------------------------------------------------------------------------------


def parts_of(root: nn.Module) -> list[Part]:
    """All parts of a network, each module once, in the order of its modules."""
    return [part for name, module in root.named_modules() for part in parts_in(module, f"{name}." if name else "")]


def parts_in(module: nn.Module, prefix: str) -> Iterator[Part]:
    """Those that begin in this module."""
    if isinstance(module, SelfAttention):
        yield heads(module, prefix, "query_key_value", "output", module.heads)
    elif isinstance(module, CrossAttention):
        yield cross_heads(module, prefix)
    elif isinstance(module, FeedForward):
        gate = ("gate",) if module.gate is not None else ()
        yield between(module, prefix, ("input", *gate), "output")
    elif type(module) is TimmAttention and module.gate is None and isinstance(module.norm, nn.Identity):
        yield heads(module, prefix, "qkv", "proj", module.num_heads)
    elif type(module) is Mlp and isinstance(module.norm, nn.Identity):
        yield between(module, prefix, ("fc1",), "fc2")
    elif type(module) is torchvision.models.vision_transformer.MLPBlock:
        yield between(module, prefix, ("0",), "3")
    elif is_residual_block(module):
        yield from channels_in(module, prefix)
    elif isinstance(module, timm_resnet.ResNet) and isinstance(module.conv1, nn.Sequential):
        yield from channels_in_stem(module, prefix)


def is_residual_block(module: nn.Module) -> bool:
    known = torchvision.models.resnet
    kinds = (timm_resnet.BasicBlock, timm_resnet.Bottleneck, known.BasicBlock, known.Bottleneck)
    return type(module) in kinds and isinstance(getattr(module, "aa", None), nn.Identity | None)


def channels_in(block: nn.Module, prefix: str) -> Iterator[Part]:
    """Between the convolutions of a residual block, where each of them sees all channels."""
    for number in (1, 2):
        names = (f"conv{number}", f"bn{number}", f"conv{number + 1}")
        if hasattr(block, names[2]):
            yield from convolutions(block, prefix, *names)


def channels_in_stem(trunk: nn.Module, prefix: str) -> Iterator[Part]:
    """Between the convolutions of a deep stem: convolution, norm and activation in turn."""
    stem = trunk.get_submodule("conv1")
    for place in range(0, len(list(stem.children())) - 3, 3):
        yield from convolutions(stem, f"{prefix}conv1.", str(place), str(place + 1), str(place + 3))


def convolutions(home: nn.Module, prefix: str, writer: str, norm: str, reader: str) -> Iterator[Part]:
    first, middle, second = (home.get_submodule(name) for name in (writer, norm, reader))
    if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d) and isinstance(middle, _BatchNorm)):
        return
    if first.groups == second.groups == 1:
        held = [f"{norm}.{name}" for name, tensor in middle.state_dict().items() if tensor.ndim]
        yield part_of(home, prefix, writer, held, reader, first.out_channels)


def between(home: nn.Module, prefix: str, writers: tuple[str, ...], reader: str) -> Part:
    """Channels between the two layers of an MLP, the gate's beside them."""
    others = [f"{writer}.{name}" for writer in writers[1:] for name in home.get_submodule(writer).state_dict()]
    return part_of(home, prefix, writers[0], others, reader, width_of(home, writers[0], 0))


def width_of(home: nn.Module, layer: str, axis: int) -> int:
    """Channels that a layer gives (0) or takes (1)."""
    return int(home.get_parameter(f"{layer}.weight").shape[axis])


def part_of(home: nn.Module, prefix: str, writer: str, others: list[str], reader: str, units: int) -> Part:
    """Units that one layer writes and another reads."""
    written = [*(f"{writer}.{name}" for name in home.get_submodule(writer).state_dict()), *others]
    return Part(
        name=f"{prefix}{writer}",
        units=units,
        tensors=(*((f"{prefix}{name}", 0, 1) for name in written), (f"{prefix}{reader}.weight", 1, 1)),
        reader=f"{prefix}{reader}.weight",
    )


def heads(attention: nn.Module, prefix: str, writer: str, reader: str, count: int) -> Part:
    """Of self-attention with queries, keys and values in one matrix."""
    written = [(f"{prefix}{writer}.{name}", 0, 3) for name in attention.get_submodule(writer).state_dict()]
    return Part(
        name=prefix.removesuffix("."),
        units=count,
        channels=width_of(attention, reader, 1) // count,
        tensors=(*written, (f"{prefix}{reader}.weight", 1, 1)),
        reader=f"{prefix}{reader}.weight",
    )


def cross_heads(attention: CrossAttention, prefix: str) -> Part:
    written = [(f"{prefix}query.{name}", 0, 1) for name in ("weight", "bias")]
    written += [(f"{prefix}key_value.{name}", 0, 2) for name in ("weight", "bias")]
    return Part(
        name=prefix.removesuffix("."),
        units=attention.heads,
        channels=attention.output.in_features // attention.heads,
        tensors=(*written, (f"{prefix}output.weight", 1, 1)),
        reader=f"{prefix}output.weight",
    )


# -- made narrower before there are weights to keep ---------------------------------------------------------


def narrow(trunk: nn.Module, widths: Mapping[str, int], label: str) -> None:
    """Leave as many units of each named part as it says.

    Args:
        label: what the architecture is called, for messages.

    Raises:
        ConfigError: there is no such part, or it has fewer units.
    """
    parts = {part.name: part for part in parts_of(trunk)} if widths else {}
    for name, units in widths.items():
        if name not in parts:
            known = did_you_mean(name, parts) if parts else "; no part of it can be narrowed"
            raise ConfigError(f"towers.image.widths: {label} has no part {name!r}{known}")
        if units > parts[name].units:
            raise ConfigError(f"towers.image.widths.{name}: {units} of the {parts[name].units} that {label} has")
    kept = {name: torch.arange(units) for name, units in widths.items()}
    state = {**dict(trunk.named_parameters()), **dict(trunk.named_buffers())}
    shrunk = cut(list(parts.values()), kept, {name: tensor.detach() for name, tensor in state.items()})
    for name, tensor in shrunk.items():
        if tensor.shape != state[name].shape:
            home, _, last = name.rpartition(".")
            put(trunk.get_submodule(home), last, tensor)
    for name in widths:
        recount(trunk.get_submodule(name), widths[name])


def put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """A tensor of another shape, and what the module says of its shape."""
    if name in module._parameters:
        setattr(module, name, nn.Parameter(tensor.clone()))
    else:
        setattr(module, name, tensor.clone())
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm):
        module.num_features = len(tensor)


def recount(module: nn.Module, units: int) -> None:
    """What an attention says of its heads."""
    if type(module) is TimmAttention:
        module.num_heads, module.attn_dim = units, units * module.head_dim
