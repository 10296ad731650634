"""DeepSpeed ZeRO 1, 2 and 3: optimizer state, gradients and parameters divided among the ranks.

DeepSpeed's own checkpoints are pickles tied to one layout, so state is read and written here by parameter
name. That takes some private attributes of 0.19, each in a function of its own with the reason beside it;
tests/engines holds every stage to the single process. Parameters stay fp32 under autocast: DeepSpeed's own
`bf16` rounds frozen weights and breaks BatchNorm.
"""

import os
import warnings
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.distributed import world
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.rates import set_rates
from mmpretrain.core.settings import settings
from mmpretrain.core.weights import Copies, require_same_names
from mmpretrain.engines.average import Average, evaluation_mode
from mmpretrain.engines.base import (
    Engine,
    OptimizerBuilder,
    OptimizerState,
    Options,
    Precision,
    average_batch_statistics,
    compile_towers,
    compute_in,
    fingerprint,
    module_shapes,
    persistent_buffers,
    product_type,
    step_count,
    trainable_parameters,
)


@settings
class DeepSpeed:
    """ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054)."""

    kind: Literal["deepspeed"] = "deepspeed"
    stage: Literal[1, 2, 3] = 2
    """1 divides optimizer state, 2 also gradients, 3 also parameters."""
    precision: Precision = "auto"
    """fp32, bf16 (autocast), or auto: bf16 where the device has it."""
    bucket_elements: Annotated[int, Field(gt=0)] = 50_000_000
    """Gradient elements reduced at a time."""
    persistence_threshold: Annotated[int, Field(ge=0)] = 100_000
    """Stage 3: parameters below this many elements stay whole on every rank."""
    compile: bool = False
    """Compile the towers with torch.compile, in their first steps: slower to start, faster after."""
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """Keep the optimizer's state, or at stage 3 also the parameters, in the processor's memory."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 600
    """How long a rank waits for the others in a collective."""

    def __post_init__(self) -> None:
        if self.offload == "parameters" and self.stage < 3:
            raise ValueError(f"offload: stage {self.stage} keeps parameters whole; use stage 3, or offload=optimizer")

    def json(self, clip_norm: float | None) -> dict[str, Any]:
        """The configuration that DeepSpeed gets."""
        zero: dict[str, Any] = {"stage": self.stage, "reduce_bucket_size": self.bucket_elements}
        if self.stage == 3:
            zero["stage3_param_persistence_threshold"] = self.persistence_threshold
        if self.offload != "none":
            zero["offload_optimizer"] = {"device": "cpu"}
        if self.offload == "parameters":
            zero["offload_param"] = {"device": "cpu"}
        return {
            # batches are cut by the loader and shares are whole sums: DeepSpeed is to scale nothing
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip_norm or 0.0,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            # torch's AdamW, whose state has names that the checkpoint knows; DeepSpeed's own would be compiled
            "zero_force_ds_cpu_optimizer": False,
        }

    def build(self, module: nn.Module, optimizer: OptimizerBuilder, options: Options) -> Engine:
        return DeepSpeedEngine(self, module, optimizer, options)


def _import(device: torch.device) -> Any:
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    try:
        import deepspeed
    except ImportError as error:
        raise ConfigError(
            f"engine.kind: deepspeed cannot be imported ({error}); pip install 'deepspeed==0.19.*'"
        ) from error
    # an optional shared-memory collective that would be compiled for a minute at the first start; gloo serves
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # DeepSpeed 0.19 calls collectives by names that torch renamed, and warns at nearly every call
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    return deepspeed


class DeepSpeedEngine:
    """The engine contract over `deepspeed.initialize`."""

    def __init__(self, zero: DeepSpeed, module: nn.Module, optimizer: OptimizerBuilder, options: Options) -> None:
        deepspeed = _import(options.device)
        self.module = module.to(options.device)
        self.device = options.device
        self._zero = deepspeed.zero
        self._utils = deepspeed.utils
        self._stage = zero.stage
        self._shapes = module_shapes(module)  # before stage 3 empties the parameters
        self._trainable = trainable_parameters(module)
        for parameter in module.parameters():
            # initialize cannot broadcast channels_last, not even 1 x 1 kernels, which .contiguous() would leave alone
            parameter.data = parameter.data.flatten().view(parameter.shape)
        compute_in(product_type(zero.precision, options.device), module, options.device)
        if zero.compile:
            compile_towers(module)
        module.train()
        self._engine, self._optimizer, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer(module), config=zero.json(options.clip_norm), dist_init_required=False
        )
        masters = self._flat_partitions()
        self._average = Average(masters, options.ema, self._make_masters_live) if options.ema else None

    # -- training

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any:
        self._engine.set_gradient_accumulation_boundary(sync)
        return self._engine(phase, *arguments)

    def backward(self, share: Tensor, sync: bool = True) -> None:
        self._engine.set_gradient_accumulation_boundary(sync)
        # DeepSpeed takes the mean over ranks: shares are parts of one sum
        self._engine.backward(share * world().size, scale_wrt_gas=False)

    def step(self) -> float:
        self._engine.set_gradient_accumulation_boundary(True)
        self._engine.step()  # leaves the weights alone and clears the gradients where the norm is not finite
        self._forget_stale_gradients()
        if self._average and self._engine.was_step_applied():
            self._average.update()
        return float(self._engine.get_global_grad_norm())

    def skip(self) -> None:
        # zero_grad alone leaves the sums that the next backward would add to
        self._optimizer.zero_grad(True)
        self._optimizer.averaged_gradients.clear()
        if self._stage < 3:
            self._optimizer.all_grad_tensors.clear()
            self._forget_offloaded_gradients()
        self._forget_stale_gradients()

    def _forget_offloaded_gradients(self) -> None:
        """As the end of a step does: else the next backward adds to what a skipped step left in the other memory."""
        from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID

        optimizer = self._optimizer
        optimizer.micro_step_id = INITIAL_MICRO_STEP_ID
        if optimizer.cpu_offload:
            optimizer._offload_accumulated_param_ids = set()
            optimizer.reset_cpu_buffers()

    def _forget_stale_gradients(self) -> None:
        """Stage 3 never clears its buffer, and would add last step's gradient to a parameter without one."""
        if self._stage == 3:
            self._optimizer.grad_partitions_flat_buffer.zero_()

    def set_rate(self, rate: float, step: int = 0) -> None:
        set_rates(self._optimizer, rate, step)

    def evaluating(self) -> AbstractContextManager[None]:
        return evaluation_mode(self.module, self._average)

    # -- state by name; every rank passes through, in the order of named_parameters

    @torch.no_grad()
    def weights(self, averaged: bool = False, copies: Copies | None = None) -> dict[str, Tensor]:
        average_batch_statistics(self.module)
        if averaged:
            if not self._average:
                return {}
            with self._average.in_place():
                return self.weights()
        state = {name: buffer.cpu().clone() for name, buffer in persistent_buffers(self.module).items()}
        for name, parameter in self.module.named_parameters():
            full = self._full_parameter(parameter)
            if world().is_main:  # the others let go of each one before the next
                state[name] = full.cpu()
        return {name: state[name] for name in self._shapes} if world().is_main else {}

    def _full_parameter(self, parameter: nn.Parameter) -> Tensor:
        """A copy of a whole parameter, on every rank."""
        if parameter.requires_grad:
            full: Tensor = self._utils.safe_get_full_fp32_param(parameter)
            return full
        if self._stage < 3:
            return parameter.data.clone()
        with self._zero.GatheredParameters([parameter]):
            return parameter.data.clone()

    def fingerprint(self) -> int | None:
        return fingerprint(self.module) if self._stage < 3 else None

    @torch.no_grad()
    def optimizer_state(self, copies: Copies | None = None) -> OptimizerState:
        held = self._optimizer.optimizer.state.get(self._flat_partitions()[0], {})
        steps = dict.fromkeys(self._trainable, int(held.get("step", 0)))
        moments = {}
        if held:
            self._link_moments()
        for name, parameter in self._trainable.items():
            for moment in (key for key in held if key != "step"):
                full = self._utils.safe_get_full_optimizer_state(parameter, moment)
                if world().is_main:
                    moments[f"{moment}.{name}"] = full.cpu()
        return OptimizerState(moments=moments, steps=steps) if world().is_main else OptimizerState()

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], state: OptimizerState | None, average: dict[str, Tensor]) -> None:
        require_same_names(weights, self._shapes, "weights")
        if self._average and average:
            require_same_names(average, self._shapes, "average")
        if state is not None:
            state.require(self._trainable)
        self._load_moments(state or OptimizerState())
        for name, buffer in persistent_buffers(self.module).items():
            buffer.copy_(weights[name])
        if self._average:
            self._load_parameters(average or weights)
            self._average.restart()
        self._load_parameters(weights)

    def _load_moments(self, state: OptimizerState) -> None:
        steps = {state.steps.get(name, 0) for name in self._trainable}
        if len(steps) > 1:
            raise MmpretrainError(
                f"checkpoint: parameters took different numbers of steps ({min(steps)} to {max(steps)}); ZeRO keeps "
                "one for all, so load it with engine.kind=ddp"
            )
        inner = self._optimizer.optimizer
        inner.state.clear()
        if not any(steps):
            return
        kinds = state.moments_of(next(iter(self._trainable)))
        for flat in self._flat_partitions():
            zeros = {kind: torch.zeros_like(flat) for kind in kinds}
            inner.state[flat] = {"step": step_count(inner, max(steps), flat.device), **zeros}
        self._link_moments()
        for name, parameter in self._trainable.items():
            for kind, full in state.moments_of(name).items():
                self._set_moment(parameter, full, kind)

    def _set_moment(self, parameter: nn.Parameter, full: Tensor, kind: str) -> None:
        if self._stage < 3:
            self._utils.safe_set_full_optimizer_state(parameter, full.to(self.device), kind)
        else:
            self._utils.safe_set_local_optimizer_state(parameter, self._own_part(parameter, full), kind)

    def _load_parameters(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            full = weights[name].to(self.device)
            if not parameter.requires_grad:
                self._set_frozen(parameter, full)
            elif self._stage < 3:
                self._utils.safe_set_full_fp32_param(parameter, full)
            else:
                self._utils.safe_set_local_fp32_param(parameter, self._own_part(parameter, full))
        self._make_masters_live()

    def _set_frozen(self, parameter: nn.Parameter, full: Tensor) -> None:
        if self._stage < 3:
            parameter.data.copy_(full)
            return
        with self._zero.GatheredParameters([parameter], modifier_rank=0):
            if world().is_main:
                parameter.data.copy_(full)

    # -- DeepSpeed's insides

    def _flat_partitions(self) -> list[Tensor]:
        """This rank's fp32 masters: what the optimizer updates, and the keys of its state."""
        name = "fp32_partitioned_groups_flat" if self._stage == 3 else "single_partition_of_fp32_groups"
        flats: list[Tensor] = getattr(self._optimizer, name)
        return list(flats)

    def _link_moments(self) -> None:
        """Stages 1 and 2 link state to parameters after the first group's step only; later groups need this."""
        if self._stage < 3:
            self._optimizer._hp_optimizer_states_linked = False
            self._optimizer._lazy_init_hp_params_optimizer_state()

    def _own_part(self, parameter: nn.Parameter, full: Tensor) -> Tensor:
        """This rank's piece of a full tensor; DeepSpeed's own setter fails where sizes do not divide."""
        length = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        padded = torch.zeros(length * world().size, device=self.device)
        padded[: full.numel()] = full.flatten().to(self.device)
        return padded[world().rank * length :][:length]

    def _make_masters_live(self) -> None:
        """Copy the fp32 masters, set or swapped behind DeepSpeed's back, into the weights that forward uses."""
        if self._stage < 3:
            self._optimizer.update_lp_params()
            return
        self._optimizer._partition_all_parameters()
        for group in range(len(self._flat_partitions())):
            self._optimizer._reassign_or_swap_out_partitioned_parameters(group)
        persistent = self._optimizer.persistent_parameters
        if persistent:
            persistent[0].all_gather(persistent)
