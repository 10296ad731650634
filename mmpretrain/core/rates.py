"""Rates of learning that differ between weights: a factor of the schedule's, and the step from which it holds."""

from typing import Any, NamedTuple

import torch


class Rate(NamedTuple):
    """Of one weight."""

    factor: float = 1.0
    """Of the schedule's learning rate."""
    from_step: int = 0
    """Until then it stands still."""

    def at(self, step: int) -> float:
        """The factor at a step."""
        return self.factor if step >= self.from_step else 0.0


def set_rates(optimizer: torch.optim.Optimizer | Any, rate: float, step: int) -> None:
    """Give every group of parameters its learning rate of a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * Rate(*group["rate"]).at(step)
