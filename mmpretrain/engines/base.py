"""What an engine promises to the loop, and what the engines share.

An engine takes one module and runs it on this rank. It sums gradients over ranks: shares add up to the
full-batch loss, so their gradients do too, and nothing above has to know how many ranks there are.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
    """Optimizer steps that each parameter has taken."""


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
        """Evaluation mode, with averaged weights where the run keeps an average."""

    def weights(self, averaged: bool = False) -> dict[str, Tensor]:
        """Parameters and buffers by name, fp32 on the processor; empty off the main rank."""

    def optimizer_state(self) -> OptimizerState:
        """The optimizer's state by parameter name."""

    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        """Take over weights, optimizer state and average that any engine wrote; every rank passes all."""


def wants_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether matrix products run in bf16."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def module_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of what `weights` returns, before an engine partitions anything."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    names = set(module.state_dict())
    return {name: buffer for name, buffer in module.named_buffers() if name in names}


def average_batch_statistics(module: nn.Module) -> None:
    """Give all ranks the mean of their BatchNorm statistics, where a BatchNorm still gathers them."""
    ranks = world().size
    for norm in module.modules():
        if ranks > 1 and isinstance(norm, _BatchNorm) and norm.training:
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    statistic.copy_(global_sum(statistic) / ranks)


class Average:
    """An exponential average over tensors that live on this rank: whole parameters, or a rank's part of them.

    One implementation for all engines; torch's AveragedModel would hold empty tensors under ZeRO-3.
    """

    def __init__(self, live: list[Tensor], decay: float) -> None:
        self.live = live
        self.decay = decay
        self.kept = [tensor.detach().clone() for tensor in live]

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self.kept, self.live, 1 - self.decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and live values; a second call puts them back."""
        for live, kept in zip(self.live, self.kept, strict=True):
            held = live.clone()
            live.copy_(kept)
            kept.copy_(held)


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
        self._clip = options.clip_norm
        self._bf16 = bf16
        self._average = Average(self._trainable(), options.ema) if options.ema else None
        inner.train()

    def _trainable(self) -> list[Tensor]:
        return [p for p in self.module.parameters() if p.requires_grad]

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any:
        with self._synchronised(sync), torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            return self._wrapped(phase, *arguments)

    def _synchronised(self, sync: bool) -> AbstractContextManager[None]:
        raise NotImplementedError

    def backward(self, share: Tensor, sync: bool = True) -> None:
        # the wrapper takes the mean over ranks: shares are parts of one sum
        with self._synchronised(sync):
            (share * world().size).backward()

    def step(self) -> float:
        bound = self._clip or float("inf")
        norm = float(nn.utils.clip_grad_norm_(self._trainable(), bound))
        if norm != norm or norm == float("inf"):
            self.skip()
            return norm
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average:
            self._average.update()
        return norm

    def skip(self) -> None:
        self._optimizer.zero_grad()

    def set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        average_batch_statistics(self.module)
        self.module.eval()
        if self._average:
            self._average.swap()
        try:
            yield
        finally:
            if self._average:
                self._average.swap()
            self.module.train()

    def weights(self, averaged: bool = False) -> dict[str, Tensor]:
        average_batch_statistics(self.module)
        if not world().is_main or (averaged and not self._average):
            return {}
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        if averaged and self._average:
            names = [name for name, p in self.module.named_parameters() if p.requires_grad]
            state |= {name: kept.cpu().clone() for name, kept in zip(names, self._average.kept, strict=True)}
        return state

    def optimizer_state(self) -> OptimizerState:
        if not world().is_main:
            return OptimizerState()
        moments, steps = {}, {}
        for name, parameter in self.module.named_parameters():
            held = self._optimizer.state.get(parameter, {})
            steps[name] = int(held.get("step", 0))
            moments |= {f"{key}.{name}": value.cpu().clone() for key, value in held.items() if key != "step"}
        return OptimizerState(moments=moments, steps=steps)

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        require_same_names(weights, module_shapes(self.module), "weights")
        self.module.load_state_dict(weights)
        if self._average:
            self._average.kept = [p.detach().clone() for p in self._trainable()]
        parameters = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        if average and self._average:
            self._average.kept = [average[name].to(self.device) for name in parameters]
        for name, parameter in parameters.items():
            if state is not None and state.steps.get(name):
                held = {
                    key.removesuffix(f".{name}"): value.to(parameter.device).clone()
                    for key, value in state.moments.items()
                    if key.endswith(f".{name}") and key.count(".") == name.count(".") + 1
                }
                self._optimizer.state[parameter] = {"step": torch.tensor(float(state.steps[name])), **held}
