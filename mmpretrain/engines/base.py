"""What an engine promises to the loop, and what the engines share.

An engine takes one module and runs it on this rank. It sums gradients over ranks: shares add up to the
full-batch loss, so their gradients do too, and nothing above has to know how many ranks there are.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.distributed import global_sum, world
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.weights import Copies

Precision = Literal["auto", "fp32", "bf16"]
"""Of the matrix products: parameters, features, logits and sums stay fp32. auto: bf16 where the device has it."""
ScaledPrecision = Literal["auto", "fp32", "bf16", "fp16"]
"""The same with fp16, whose small gradients need a scaled loss: for GPUs that have no bf16."""

OptimizerBuilder = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the assembler tells every engine."""

    device: torch.device
    clip_norm: float | None
    ema: float | None


@dataclass(frozen=True, kw_only=True)
class OptimizerState:
    """Optimizer state by parameter name, the same whichever engine wrote it."""

    moments: dict[str, Tensor] = field(default_factory=dict)
    """`MOMENT.NAME` such as `exp_avg.model.text.final_norm.weight`, fp32; empty off the main rank."""
    steps: dict[str, int] = field(default_factory=dict)
    """Optimizer steps that each trainable parameter has taken."""
    loss_scale: dict[str, float] = field(default_factory=dict)
    """State of the loss scaling of fp16; empty in other precisions."""

    def moments_of(self, name: str) -> dict[str, Tensor]:
        """Moments of one parameter, as the optimizer names them."""
        return {kind: self.moments[f"{kind}.{name}"] for kind in self._kinds()}

    def _kinds(self) -> list[str]:
        return sorted({key.partition(".")[0] for key in self.moments})

    def require(self, names: Iterable[str]) -> None:
        """Refuse a state that lacks something of a parameter, before anything is changed.

        Raises:
            MmpretrainError: names what is missing.
        """
        missing = [f"steps of {name}" for name in names if name not in self.steps]
        wanted = [f"{kind}.{name}" for name in names if self.steps.get(name) for kind in self._kinds()]
        missing += [name for name in wanted if name not in self.moments]
        if missing:
            raise MmpretrainError(f"optimizer state: missing {', '.join(missing[:5])}; use another checkpoint")


class Engine(Protocol):
    """The verbs between the loop and the hardware; every rank calls each of them in the same order."""

    module: nn.Module
    device: torch.device

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any:
        """The module's phase under the engine's precision. `sync`: its backward ends the accumulation."""

    def backward(self, share: Tensor, sync: bool = True) -> None:
        """Add the gradient of a share; with `sync` also sum it over the ranks."""

    def step(self) -> float:
        """Clip, update, clear; returns the gradient norm before clipping.

        A norm that is not finite never reaches the weights: the gradients are cleared and the norm returned.
        """

    def skip(self) -> None:
        """Clear the gradients without an update."""

    def set_rate(self, rate: float, step: int = 0) -> None:
        """Learning rate of the next step, which is this one: some weights wait for theirs."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Evaluation mode without gradients, with averaged weights where the run keeps an average."""

    def weights(self, averaged: bool = False, copies: Copies | None = None) -> dict[str, Tensor]:
        """Parameters and buffers by name, fp32 on the processor; empty off the main rank.

        Args:
            copies: memory of earlier copies, which an engine may put these into; None: new.
        """

    def fingerprint(self) -> int | None:
        """A number that changes with any bit of this rank's copy of the weights; None where it has no whole copy."""

    def optimizer_state(self, copies: Copies | None = None) -> OptimizerState:
        """The optimizer's state by parameter name. Args: copies: as of `weights`."""

    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        """Take over what any engine wrote; every rank passes all of it.

        Args:
            state: None starts the optimizer anew.
            average: empty starts the average at the weights.

        Raises:
            MmpretrainError: names or shapes do not fit the module; nothing was changed.
        """


def product_type(precision: ScaledPrecision, device: torch.device) -> torch.dtype:
    """What matrix products run in."""
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        found = torch.cpu.get_capabilities()
        has_bf16 = any(found.get(unit) for unit in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    return torch.bfloat16 if has_bf16 else torch.float32


def module_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of what `weights` returns, shared tensors once; before an engine partitions anything."""
    tensors = {**dict(module.named_parameters()), **persistent_buffers(module)}
    return {name: tensors[name].shape for name in module.state_dict() if name in tensors}


def persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    names = set(module.state_dict())
    return {name: buffer for name, buffer in module.named_buffers() if name in names}


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def fingerprint(module: nn.Module) -> int:
    """The sum of the trainable weights' bits, modulo 2^64."""
    parts = [parameter.view(torch.int32).sum(dtype=torch.int64) for parameter in trainable_parameters(module).values()]
    return int(torch.stack(parts).sum())


def step_count(optimizer: torch.optim.Optimizer, steps: int, device: torch.device) -> Tensor:
    """The `step` of an optimizer's state: fused kernels want it beside the parameter, the others on the processor."""
    beside = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    return torch.tensor(float(steps), device=device if beside else "cpu")


def compute_in(kind: torch.dtype, module: nn.Module, device: torch.device) -> None:
    """Run the module's forward under autocast, unless in fp32.

    Inside the module and not around it, because DeepSpeed switches off an autocast that surrounds its engine.
    """
    if kind != torch.float32:
        module.forward = torch.autocast(device.type, kind)(module.forward)


def compile_towers(module: nn.Module) -> None:
    """Compile the towers, each at its first call; parameters keep their names. Lengths of texts may vary."""
    model: Any = module.model
    for tower in (model.image, model.text):
        if tower is not None:
            tower.compile(dynamic=True)


def average_batch_statistics(module: nn.Module) -> None:
    """Give all ranks the mean of their BatchNorm statistics, where a BatchNorm still gathers them."""
    ranks = world().size
    for norm in module.modules():
        if ranks > 1 and isinstance(norm, _BatchNorm) and norm.training:
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    statistic.copy_(global_sum(statistic) / ranks)
