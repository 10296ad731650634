"""What the single process and DDP share: plain torch on this rank."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.distributed import world
from mmpretrain.core.rates import set_rates
from mmpretrain.core.weights import Copies, require_same_names
from mmpretrain.engines.average import Average, evaluation_mode
from mmpretrain.engines.base import (
    OptimizerState,
    Options,
    ScaledPrecision,
    average_batch_statistics,
    compile_towers,
    compute_in,
    fingerprint,
    module_shapes,
    product_type,
    step_count,
    trainable_parameters,
)


class TorchEngine:
    """Plain torch on this rank; how gradients meet is the variant's one method.

    Args:
        module: what the variant wrapped, or the module itself.
        inner: the module without its wrapper.
    """

    def __init__(
        self,
        module: nn.Module,
        inner: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: Options,
        precision: ScaledPrecision,
        compiled: bool,
    ) -> None:
        self.module = inner
        self.device = options.device
        self._wrapped = module
        self._optimizer = optimizer
        self._trainable = trainable_parameters(inner)
        self._clip = options.clip_norm or math.inf
        self._average = Average(list(self._trainable.values()), options.ema) if options.ema else None
        kind = product_type(precision, options.device)
        self._scaler = torch.amp.GradScaler(options.device.type, enabled=kind == torch.float16)
        compute_in(kind, inner, options.device)
        if compiled:
            compile_towers(inner)
        inner.train()

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any:
        with self._synchronised(sync):
            return self._wrapped(phase, *arguments)

    def _synchronised(self, sync: bool) -> AbstractContextManager[None]:
        raise NotImplementedError

    def backward(self, share: Tensor, sync: bool = True) -> None:
        # the wrapper takes the mean over ranks: shares are parts of one sum
        with self._synchronised(sync):
            self._scaler.scale(share * world().size).backward()

    def step(self) -> float:
        self._scaler.unscale_(self._optimizer)
        norm = float(nn.utils.clip_grad_norm_(self._trainable.values(), self._clip))
        if math.isfinite(norm):
            self._scaler.step(self._optimizer)
            if self._average:
                self._average.update()
        self._scaler.update()  # smaller after a norm that is not finite, larger after many that are
        self._optimizer.zero_grad()
        return norm

    def skip(self) -> None:
        self._optimizer.zero_grad()

    def set_rate(self, rate: float, step: int = 0) -> None:
        set_rates(self._optimizer, rate, step)

    def evaluating(self) -> AbstractContextManager[None]:
        return evaluation_mode(self.module, self._average)

    def weights(self, averaged: bool = False, copies: Copies | None = None) -> dict[str, Tensor]:
        average_batch_statistics(self.module)
        if not world().is_main or (averaged and not self._average):
            return {}
        state = self.module.state_dict()
        if averaged and self._average:
            state |= dict(zip(self._trainable, self._average.kept, strict=True))
        copies = Copies() if copies is None else copies
        kind = "average" if averaged else "weights"
        return {name: copies.put(f"{kind}.{name}", state[name]) for name in module_shapes(self.module)}

    def fingerprint(self) -> int | None:
        return fingerprint(self.module)

    def optimizer_state(self, copies: Copies | None = None) -> OptimizerState:
        if not world().is_main:
            return OptimizerState()
        copies = Copies() if copies is None else copies
        moments: dict[str, Tensor] = {}
        steps: dict[str, int] = {}
        for name, parameter in self._trainable.items():
            held = self._optimizer.state.get(parameter, {})
            steps[name] = int(held.get("step", 0))
            named = {f"{key}.{name}": value for key, value in held.items() if key != "step"}
            moments |= {name: copies.put(f"moments.{name}", value) for name, value in named.items()}
        return OptimizerState(moments=moments, steps=steps, loss_scale=self._scaler.state_dict())

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        require_same_names(weights, module_shapes(self.module), "weights")
        if self._average and average:
            require_same_names(average, module_shapes(self.module), "average")
        if state is not None:
            state.require(self._trainable)
        # not strict: a shared tensor has several names, of which the check above wants one
        self.module.load_state_dict(weights, strict=False)
        if state and state.loss_scale and self._scaler.is_enabled():
            self._scaler.load_state_dict(state.loss_scale)
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
