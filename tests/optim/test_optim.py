import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmpretrain.optim.optimizer import Optim, decay_groups
from mmpretrain.optim.schedule import Cosine


@given(st.integers(1, 500), st.integers(0, 100), st.floats(1e-6, 1), st.floats(0, 1e-6))
def test_the_rate_stays_between_zero_and_its_peak(steps: int, warmup: int, rate: float, floor: float):
    schedule = Cosine(rate=rate, warmup=min(warmup, steps - 1), floor=floor)
    rates = [schedule.at(step, steps) for step in range(steps)]
    assert all(0 < value <= rate * (1 + 1e-9) or value == pytest.approx(floor) for value in rates)


def test_the_rate_is_its_closed_form():
    schedule = Cosine(rate=2.0, warmup=4, floor=0.5)
    assert [schedule.at(step, 12) for step in range(4)] == [0.5, 1.0, 1.5, 2.0]
    for step in range(4, 12):
        assert schedule.at(step, 12) == pytest.approx(0.5 + 1.5 * (1 + math.cos(math.pi * (step - 4) / 8)) / 2)


def test_only_trainable_matrices_decay():
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Embedding(4, 3))
    module[2].weight.requires_grad = False
    decay, plain = decay_groups(module, 0.3)
    assert (decay["names"], decay["weight_decay"]) == (["0.weight"], 0.3)
    assert (plain["names"], plain["weight_decay"]) == (["0.bias", "1.weight", "1.bias"], 0.0)


def test_the_optimizer_takes_its_numbers_from_the_settings():
    optimizer = Optim(betas=(0.8, 0.9), eps=1e-5, weight_decay=0.1).build(nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [(group["betas"], group["eps"], group["weight_decay"]) for group in optimizer.param_groups] == [
        ((0.8, 0.9), 1e-5, 0.1),
        ((0.8, 0.9), 1e-5, 0.0),
    ]
