"""An exponential average of weights that serves every engine, and the mode in which a module is evaluated."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from mmpretrain.engines.base import average_batch_statistics


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


@contextmanager
def evaluation_mode(module: nn.Module, average: Average | None) -> Iterator[None]:
    """Every rank's BatchNorm statistics and averaged weights in place, no gradients; then training as before."""
    average_batch_statistics(module)
    module.eval()
    try:
        with torch.no_grad(), average.in_place() if average else nullcontext():
            yield
    finally:
        module.train()
