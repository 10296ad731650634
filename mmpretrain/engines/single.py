"""One process, one device: the engine that the others are measured against."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from torch import nn

from mmpretrain.core.distributed import world
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.engines.base import Engine, OptimizerBuilder, Options, ScaledPrecision
from mmpretrain.engines.plain import TorchEngine


@settings
class Single:
    """One process."""

    kind: Literal["single"] = "single"
    precision: ScaledPrecision = "auto"
    """fp32, bf16 or fp16 (autocast), or auto: bf16 where the device has it."""
    compile: bool = False
    """Compile the towers with torch.compile, in their first steps: slower to start, faster after."""

    def build(self, module: nn.Module, optimizer: OptimizerBuilder, options: Options) -> Engine:
        if world().size > 1:
            raise ConfigError(f"engine.kind: 'single' runs one process, {world().size} were started; use ddp")
        module = module.to(options.device)
        return SingleEngine(module, module, optimizer(module), options, self.precision, self.compile)


class SingleEngine(TorchEngine):
    """Nothing to synchronise."""

    def _synchronised(self, sync: bool) -> AbstractContextManager[None]:
        return nullcontext()
