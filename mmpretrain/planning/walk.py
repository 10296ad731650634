"""One step of a run, walked through on hollow tensors by the code that trains: `train_step` over a `TrainingModule`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.distributed import world
from mmpretrain.engines.base import compute_in
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.parts import modules_of
from mmpretrain.planning.ledger import Exchange, Ledger, Span
from mmpretrain.towers import kernels
from mmpretrain.train.step import train_step

CPU = torch.device("cpu")


class Weight(NamedTuple):
    """One parameter."""

    name: str
    numel: int
    trainable: bool
    decays: bool
    """Stands in the optimizer's first group, as `optim.decay_groups` has it."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What one rank does in one step."""

    spans: Sequence[Span]
    """In the order of time; of several micro-batches the first and the last."""
    flops: Mapping[str, int]
    """By part, of all micro-batches."""
    exchanges: Sequence[Exchange]
    """What objectives and step exchange; gradients and weights are the engine's."""
    batch_bytes: int
    """Of all micro-batches, which a step holds from its start."""
    weights: Sequence[Weight]
    buffer_bytes: int
    objectives: Sequence[str]
    """Parts that are objectives."""
    exact: Sequence[str]
    """Those that compute in fp32 under every precision: they compare all pairs of the global batch."""


def walk(module: TrainingModule, batches: Sequence[Batch], kind: torch.dtype, fused: bool) -> Walk:
    """Take one step; inside `hollow()`, with a module and micro-batches that were made there.

    Args:
        kind: of matrix products, as the engine's precision says.
        fused: attention never holds the matrix of all pairs of tokens, as on GPUs; else as on the processor.
    """
    compute_in(kind, module, CPU)
    module.train()
    parts = {name: members for name, members in modules_of(module).items() if name != "objectives"}
    parts |= {str(objective.name): [objective] for objective in module.objectives}
    given = [value for batch in batches for value in vars(batch).values() if isinstance(value, Tensor)]
    ledger = Ledger(module, parts, given)
    engine = WalkEngine(module, ledger, len(batches))
    with ledger, fused_attention() if fused else nullcontext():
        train_step(engine, batches, seed=0)
    return Walk(
        spans=ledger.spans,
        flops=engine.flops(),
        exchanges=[exchange for phase in ledger.exchanges.values() for exchange in phase],
        batch_bytes=sum(tensor.nbytes for tensor in given),
        weights=[Weight(name, p.numel(), p.requires_grad, p.ndim > 1) for name, p in module.named_parameters()],
        buffer_bytes=sum(buffer.nbytes for buffer in module.buffers()),
        objectives=[str(objective.name) for objective in module.objectives],
        exact=[str(objective.name) for objective in module.objectives if objective.is_global],
    )


class WalkEngine:
    """The engine contract as far as a step needs it. Of equal micro-batches only the first and the last are walked."""

    device = CPU

    def __init__(self, module: TrainingModule, ledger: Ledger, micros: int) -> None:
        self.module = module
        self._ledger = ledger
        self._micros = micros
        self._asked: Counter[str] = Counter()
        self._walked: Counter[str] = Counter()
        self._answers: dict[str, Any] = {}
        self._skips = False

    def forward(self, phase: str, *arguments: Any, sync: bool = True) -> Any:
        self._skips = self._asked[phase] > 0 and not sync
        self._asked[phase] += 1
        if self._skips:
            answer = self._answers[phase]
            return renewed(answer) if isinstance(answer, Features) else answer
        with self._during(phase, sync):
            self._answers[phase] = answer = self.module(phase, *arguments)
        return answer

    def backward(self, share: Tensor, sync: bool = True) -> None:
        self._asked["backward"] += 1
        if not self._skips:
            with self._during("backward", sync):
                (share * world().size).backward()

    def _during(self, phase: str, final: bool) -> AbstractContextManager[None]:
        self._walked[phase] += 1
        return self._ledger.during(phase, final)

    def step(self) -> float:
        self.skip()
        return 1.0

    def skip(self) -> None:
        for parameter in self.module.parameters():
            parameter.grad = None

    def flops(self) -> dict[str, int]:
        """By part, over all micro-batches."""
        total: Counter[str] = Counter()
        for phase, parts in self._ledger.flops.items():
            asked, walked = self._asked.get(phase, 1), self._walked.get(phase, 1)
            for part, count in parts.items():
                total[part] += count * asked // walked
        return dict(total)


def renewed(features: Features) -> Features:
    """Those of another micro-batch."""
    return features.with_vectors([torch.empty_like(vectors_BE) for vectors_BE in features.vectors])


@contextmanager
def fused_attention() -> Iterator[None]:
    """Blocks with the kernel that never holds the matrix of all pairs of tokens, as they have it on GPUs.

    The processor's stands for those of GPUs: it keeps the same for its backward pass. Set for the process and not by a
    torch mode, which what checkpointing computes again inside backward would not see.
    """
    kept = kernels.attention_kernel
    kernels.attention_kernel = lambda like: nullcontext()
    try:
        yield
    finally:
        kernels.attention_kernel = kept
