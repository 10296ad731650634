"""What an engine promises to the loop, and what the engines share.

An engine takes one module and runs it on this rank. It sums gradients over ranks: shares add up to the
full-batch loss, so their gradients do too, and nothing above has to know how many ranks there are.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpretrain.core.distributed import global_sum, world
from mmpretrain.core.weights import require_same_names

Precision = Literal["auto", "fp32", "bf16"]
"""Of the matrix products: parameters, features, logits and sums stay fp32. auto: bf16 where the device has it."""

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

    def moments_of(self, name: str) -> dict[str, Tensor]:
        """Moments of one parameter, as the optimizer names them."""
        kinds = {key.partition(".")[0] for key in self.moments}
        return {kind: self.moments[f"{kind}.{name}"] for kind in sorted(kinds)}


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

    def set_rate(self, rate: float) -> None:
        """Learning rate of the next step."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Evaluation mode without gradients, with averaged weights where the run keeps an average."""

    def weights(self, averaged: bool = False) -> dict[str, Tensor]:
        """Parameters and buffers by name, fp32 on the processor; empty off the main rank."""

    def optimizer_state(self) -> OptimizerState:
        """The optimizer's state by parameter name."""

    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        """Take over what any engine wrote; every rank passes all of it.

        Args:
            state: None starts the optimizer anew.
            average: empty starts the average at the weights.

        Raises:
            MmpretrainError: names or shapes do not fit the module; nothing was changed.
        """


def wants_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether matrix products run in bf16."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    found = torch.cpu.get_capabilities()
    return any(found.get(unit) for unit in ("avx512_bf16", "amx_bf16", "sve_bf16"))


def module_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of what `weights` returns, shared tensors once; before an engine partitions anything."""
    tensors = {**dict(module.named_parameters()), **persistent_buffers(module)}
    return {name: tensors[name].shape for name in module.state_dict() if name in tensors}


def persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    names = set(module.state_dict())
    return {name: buffer for name, buffer in module.named_buffers() if name in names}


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def step_count(optimizer: torch.optim.Optimizer, steps: int, device: torch.device) -> Tensor:
    """The `step` of an optimizer's state: fused kernels want it beside the parameter, the others on the processor."""
    beside = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    return torch.tensor(float(steps), device=device if beside else "cpu")


def compute_in_bf16(module: nn.Module, device: torch.device) -> None:
    """Run the module's forward under autocast.

    Inside the module and not around it, because DeepSpeed switches off an autocast that surrounds its engine.
    """
    module.forward = torch.autocast(device.type, torch.bfloat16)(module.forward)


def average_batch_statistics(module: nn.Module) -> None:
    """Give all ranks the mean of their BatchNorm statistics, where a BatchNorm still gathers them."""
    ranks = world().size
    for norm in module.modules():
        if ranks > 1 and isinstance(norm, _BatchNorm) and norm.training:
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    statistic.copy_(global_sum(statistic) / ranks)


@contextmanager
def evaluation_mode(module: nn.Module, average: "Average | None") -> Iterator[None]:
    """Every rank's BatchNorm statistics and averaged weights in place, no gradients; then training as before."""
    average_batch_statistics(module)
    module.eval()
    try:
        with torch.no_grad(), average.in_place() if average else nullcontext():
            yield
    finally:
        module.train()


class Average:
    """An exponential average over tensors that live on this rank: whole parameters, or a rank's part of them.

    One implementation for all engines; torch's AveragedModel would hold empty tensors under ZeRO-3.

    Args:
        live: the tensors that the optimizer updates.
        decay: weight of the past.
        refresh: called whenever live tensors were exchanged, to make the module use them.
    """

    def __init__(self, live: Sequence[Tensor], decay: float, refresh: Callable[[], None] = lambda: None) -> None:
        self.live = live
        self.decay = decay
        self.kept = [tensor.detach().clone() for tensor in live]
        self._refresh = refresh

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self.kept, list(self.live), 1 - self.decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again at the live values."""
        for live, kept in zip(self.live, self.kept, strict=True):
            kept.copy_(live)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average where the live values were, for the length of a block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, kept in zip(self.live, self.kept, strict=True):
            held = live.clone()
            live.copy_(kept)
            kept.copy_(held)
        self._refresh()


class TorchEngine:
    """Plain torch on this rank; how gradients meet is the variant's one method.

    Args:
        module: what the variant wrapped, or the module itself.
        inner: the module without its wrapper.
    """

    def __init__(
        self, module: nn.Module, inner: nn.Module, optimizer: torch.optim.Optimizer, options: Options, bf16: bool
    ) -> None:
        self.module = inner
        self.device = options.device
        self._wrapped = module
        self._optimizer = optimizer
        self._trainable = trainable_parameters(inner)
        self._clip = options.clip_norm or math.inf
        self._average = Average(list(self._trainable.values()), options.ema) if options.ema else None
        if bf16:
            compute_in_bf16(inner, options.device)
        inner.train()

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any:
        with self._synchronised(sync):
            return self._wrapped(phase, *arguments)

    def _synchronised(self, sync: bool) -> AbstractContextManager[None]:
        raise NotImplementedError

    def backward(self, share: Tensor, sync: bool = True) -> None:
        # the wrapper takes the mean over ranks: shares are parts of one sum
        with self._synchronised(sync):
            (share * world().size).backward()

    def step(self) -> float:
        norm = float(nn.utils.clip_grad_norm_(self._trainable.values(), self._clip))
        if math.isfinite(norm):
            self._optimizer.step()
            if self._average:
                self._average.update()
        self._optimizer.zero_grad()
        return norm

    def skip(self) -> None:
        self._optimizer.zero_grad()

    def set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def evaluating(self) -> AbstractContextManager[None]:
        return evaluation_mode(self.module, self._average)

    def weights(self, averaged: bool = False) -> dict[str, Tensor]:
        average_batch_statistics(self.module)
        if not world().is_main or (averaged and not self._average):
            return {}
        state = self.module.state_dict()
        if averaged and self._average:
            state |= dict(zip(self._trainable, self._average.kept, strict=True))
        return {name: state[name].detach().cpu().clone() for name in module_shapes(self.module)}

    def optimizer_state(self) -> OptimizerState:
        if not world().is_main:
            return OptimizerState()
        moments: dict[str, Tensor] = {}
        steps: dict[str, int] = {}
        for name, parameter in self._trainable.items():
            held = self._optimizer.state.get(parameter, {})
            steps[name] = int(held.get("step", 0))
            moments |= {f"{key}.{name}": value.cpu().clone() for key, value in held.items() if key != "step"}
        return OptimizerState(moments=moments, steps=steps)

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        require_same_names(weights, module_shapes(self.module), "weights")
        if self._average and average:
            require_same_names(average, module_shapes(self.module), "average")
        # not strict: a shared tensor has several names, of which the check above wants one
        self.module.load_state_dict(weights, strict=False)
        self._optimizer.state.clear()
        for name, parameter in self._trainable.items():
            if state and state.steps.get(name):
                held = {key: torch.empty_like(parameter).copy_(value) for key, value in state.moments_of(name).items()}
                step = step_count(self._optimizer, state.steps[name], self.device)
                self._optimizer.state[parameter] = {"step": step, **held}
        if self._average:
            self._average.restart()
            for name, kept in zip(self._trainable, self._average.kept, strict=True):
                kept.copy_(average.get(name, kept))
