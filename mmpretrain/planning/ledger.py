"""Who takes memory, operations and the wire while a step runs, by phase of the step and part of the model."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmpretrain.planning.formulas import FORMULAS
from mmpretrain.planning.holdings import Holdings

REST = "rest"
"""The part of what no named part does, such as sums over ranks."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """What stands between two moments at which an engine does something."""

    phase: str
    most: Mapping[str, int]
    """Bytes of intermediate results by part, at the moment when they are most."""
    left: Mapping[str, int]
    """The same at the end."""
    gradient: str | None
    """The parameter whose gradient is complete for this micro-batch at the end; None: the phase ends."""
    final: bool
    """It belongs to the micro-batch that ends a step."""
    flops: int
    """Operations since the span before."""


@dataclass(frozen=True)
class Exchange:
    """One collective."""

    kind: str
    """allreduce, allgather, ..."""
    bytes: int
    """Of the whole: what is summed, or all ranks' parts together."""


class Ledger(TorchDispatchMode):
    """Looks at every operation: what it computes, what it makes, and when that is let go.

    Weights, buffers, gradients and what a batch brings are not counted: engines differ in how they hold those.

    Args:
        module: parameters' names and gradients are its own.
        parts: the modules of each named part; what runs in none of them is `REST`.
        given: tensors that were there before.
    """

    def __init__(self, module: nn.Module, parts: Mapping[str, list[nn.Module]], given: list[Tensor]) -> None:
        super().__init__()
        self.phase = ""
        self.final = False
        self.spans: list[Span] = []
        self.flops: dict[str, Counter[str]] = {}
        self.exchanges: dict[str, list[Exchange]] = {}
        self._holdings = Holdings()
        for tensor in [*module.parameters(), *module.buffers(), *given]:
            self._holdings.take(tensor, None)
        self._since_last = 0
        self._within: list[str] = [REST]
        self._of_node: dict[int, str] = {}
        self._listen(module, parts)

    def _listen(self, module: nn.Module, parts: Mapping[str, list[nn.Module]]) -> None:
        for part, members in parts.items():
            for member in members:
                member.register_forward_pre_hook(lambda *_, part=part: self._within.append(part))
                member.register_forward_hook(lambda *_: self._leave(), always_call=True)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p, name=name: self._gradient(name, p))

    def _leave(self) -> None:
        self._within.pop()

    @contextmanager
    def during(self, phase: str, final: bool) -> Iterator[None]:
        """What happens in this block belongs to a phase."""
        before, self.phase, self.final = self.phase, phase, final
        try:
            yield
        finally:
            self._end_span(None)
            self.phase = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        part = self._part()
        formula = FORMULAS.get(func.overloadpacket)
        if formula is not None:
            operations = formula(*args, **(kwargs or {}), out_val=found)
            self.flops.setdefault(self.phase, Counter())[part] += operations
            self._since_last += operations
        if func.namespace == "c10d":
            self.exchanges.setdefault(self.phase, []).append(exchange_of(func, args))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._holdings.take(leaf, part)
        self._holdings.note()
        return found

    def _part(self) -> str:
        """Of the module that is running forward, or of the one that ran forward what now runs backward."""
        node = torch._C._current_autograd_node()
        if node is None or len(self._within) > 1:  # what checkpointing computes again runs forward inside backward
            self._of_node[torch._C._autograd._get_sequence_nr() - 1] = self._within[-1]
            return self._within[-1]
        return self._of_node.get(node._sequence_nr(), REST)

    def _gradient(self, name: str, parameter: Tensor) -> None:
        """From now on it is the engine's."""
        assert parameter.grad is not None
        self._holdings.disown(parameter.grad)
        self._end_span(name)

    def _end_span(self, gradient: str | None) -> None:
        most, left = dict(+self._holdings.most), dict(+self._holdings.live)
        span = Span(phase=self.phase, most=most, left=left, gradient=gradient, final=self.final, flops=self._since_last)
        self.spans.append(span)
        self._holdings.most, self._since_last = self._holdings.live.copy(), 0


def exchange_of(func: Any, args: Any) -> Exchange:
    """What a call of a collective says of it."""
    kind = func.overloadpacket.__name__.strip("_")
    held = [leaf for leaf in tree_leaves(args["reduce_scatter" in kind]) if isinstance(leaf, Tensor)]
    return Exchange(kind, sum(tensor.nbytes for tensor in held))
