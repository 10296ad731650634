"""torch's DistributedDataParallel: a copy on each rank, gradients exchanged while backward runs."""

import logging
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmpretrain.core.settings import settings
from mmpretrain.engines.base import Engine, OptimizerBuilder, Options, ScaledPrecision
from mmpretrain.engines.plain import TorchEngine


@settings
class Ddp:
    """One copy a rank."""

    kind: Literal["ddp"] = "ddp"
    precision: ScaledPrecision = "auto"
    """fp32, bf16 or fp16 (autocast), or auto: bf16 where the device has it."""
    compile: bool = False
    """Compile the towers with torch.compile, in their first steps: slower to start, faster after."""
    bucket_mb: Annotated[int, Field(gt=0)] = 25
    """Gradients exchanged at a time, in MB."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 600
    """How long a rank waits for the others in a collective."""

    def build(self, module: nn.Module, optimizer: OptimizerBuilder, options: Options) -> Engine:
        module = module.to(options.device)
        logging.getLogger("torch.nn.parallel.distributed").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
        with warnings.catch_warnings():
            # torch 2.14 renames broadcast_buffers; older ones know only this name
            warnings.simplefilter("ignore", FutureWarning)
            wrapped = DistributedDataParallel(
                module,
                device_ids=[options.device.index] if options.device.type == "cuda" else None,
                bucket_cap_mb=self.bucket_mb,
                broadcast_buffers=False,  # statistics are averaged over ranks instead, see average_batch_statistics
                gradient_as_bucket_view=True,
                # every parameter takes part in every step; but without this DDP sorts its buckets anew after its first
                # backward, and sums of three ranks and more would be rounded otherwise in a run that was resumed
                find_unused_parameters=True,
            )
        return DdpEngine(wrapped, module, optimizer(module), options, self.precision, self.compile)


class DdpEngine(TorchEngine):
    """Only the last micro-batch of a step exchanges gradients; DDP looks at the flag in forward."""

    _wrapped: DistributedDataParallel

    def _synchronised(self, sync: bool) -> AbstractContextManager[None]:
        return nullcontext() if sync else self._wrapped.no_sync()
