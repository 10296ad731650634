"""What vendors say of their GPUs. Peaks are without sparsity; a link's figure is what one GPU sends while it receives
as much, half of what data sheets add up.
"""

from dataclasses import dataclass

import torch

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean

DGX_H100 = "https://docs.nvidia.com/dgx/dgxh100-user-guide/introduction-to-dgxh100.html"
DGX_A100 = "https://docs.nvidia.com/dgx/dgxa100-user-guide/introduction-to-dgxa100.html"
A100 = (
    "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/"
    "nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
)
V100 = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
MI300X = (
    "https://www.amd.com/content/dam/amd/en/documents/instinct-tech-docs/data-sheets/amd-instinct-mi300x-data-sheet.pdf"
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One row of the table."""

    name: str
    bf16: float | None
    """Peak operations a second of matrix products in bf16; None: the GPU has none, and precision auto is fp32."""
    fp16: float
    """The same in fp16."""
    fp32: float
    """The same in fp32, without TF32, which torch leaves off."""
    memory: float
    """Bytes, as vendors count: 1 GB = 1e9."""
    bandwidth: float
    """Bytes a second of its memory."""
    in_node: float
    """Bytes a second to the other GPUs of its node."""
    between_nodes: float
    """Bytes a second to other nodes: the GPU's share of the network of the reference system that is named."""
    source: str
    network: str
    """What `between_nodes` is taken from."""

    def product_type(self, precision: str) -> torch.dtype:
        """What matrix products run in there.

        Raises:
            ConfigError: the GPU has no bf16.
        """
        if precision == "auto":
            return torch.float32 if self.bf16 is None else torch.bfloat16
        if precision == "bf16" and self.bf16 is None:
            raise ConfigError(f"engine.precision: {self.name} has no bf16; use engine.precision=fp16 or fp32")
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]

    def peak(self, kind: torch.dtype) -> float:
        """Operations a second."""
        halves = {torch.bfloat16: self.bf16 or self.fp32, torch.float16: self.fp16}
        return halves.get(kind, self.fp32)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu(
            name="h100",
            bf16=989e12,
            fp16=989e12,
            fp32=67e12,
            memory=80e9,
            bandwidth=3.35e12,
            in_node=450e9,
            between_nodes=50e9,
            source="https://www.nvidia.com/en-us/data-center/h100/",
            network=f"8 ports of 400 Gb/s for 8 GPUs, {DGX_H100}",
        ),
        Gpu(
            name="h200",
            bf16=989e12,
            fp16=989e12,
            fp32=67e12,
            memory=141e9,
            bandwidth=4.8e12,
            in_node=450e9,
            between_nodes=50e9,
            source="https://www.nvidia.com/en-us/data-center/h200/",
            network=f"8 ports of 400 Gb/s for 8 GPUs, {DGX_H100}",
        ),
        Gpu(
            name="a100",
            bf16=312e12,
            fp16=312e12,
            fp32=19.5e12,
            memory=80e9,
            bandwidth=2.039e12,
            in_node=300e9,
            between_nodes=25e9,
            source=A100,
            network=f"8 ports of 200 Gb/s for 8 GPUs, {DGX_A100}",
        ),
        Gpu(
            name="a100-40",
            bf16=312e12,
            fp16=312e12,
            fp32=19.5e12,
            memory=40e9,
            bandwidth=1.555e12,
            in_node=300e9,
            between_nodes=25e9,
            source=A100,
            network=f"8 ports of 200 Gb/s for 8 GPUs, {DGX_A100}",
        ),
        Gpu(
            name="l40s",
            bf16=362e12,
            fp16=362e12,
            fp32=91.6e12,
            memory=48e9,
            bandwidth=0.864e12,
            in_node=32e9,
            between_nodes=12.5e9,
            source="https://www.nvidia.com/en-us/data-center/l40s/",
            network="100 Gb/s a GPU, a guess: servers with this card differ; --between-nodes sets it",
        ),
        Gpu(
            name="v100",
            bf16=None,
            fp16=125e12,
            fp32=15.7e12,
            memory=32e9,
            bandwidth=0.9e12,
            in_node=150e9,
            between_nodes=6.25e9,
            source=V100,
            network="4 ports of 100 Gb/s for 8 GPUs, DGX-1 with V100",
        ),
        Gpu(
            name="mi300x",
            bf16=1307.4e12,
            fp16=1307.4e12,
            fp32=163.4e12,
            memory=192e9,
            bandwidth=5.3e12,
            in_node=448e9,
            between_nodes=50e9,
            source=MI300X,
            network="400 Gb/s a GPU, the usual server of 8",
        ),
    )
}


def find_gpu(name: str) -> Gpu:
    """A row of the table.

    Raises:
        ConfigError: there is no such row.
    """
    if name not in GPUS:
        raise ConfigError(f"--gpu: no data of {name!r}{did_you_mean(name, GPUS)}")
    return GPUS[name]
