"""The family of engines."""

from typing import Annotated

import torch
from pydantic import Field

from mmpretrain.core.distributed import World
from mmpretrain.engines.ddp import Ddp
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.engines.single import Single

EngineSettings = Annotated[Single | Ddp | DeepSpeed, Field(discriminator="kind")]


def device_of(world: World) -> torch.device:
    """This rank's device: its GPU where there is one, else the processor."""
    if torch.cuda.is_available():
        device = torch.device("cuda", world.local_rank)
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


def backend_of(device: torch.device) -> str:
    return "nccl" if device.type == "cuda" else "gloo"
