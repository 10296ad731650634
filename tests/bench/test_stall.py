"""What a checkpoint costs training: the wait, and the steps that are slower after it."""

import math

import pytest

from mmpretrain.bench import stall
from mmpretrain.bench.works import Asked


def test_what_is_lost_are_the_wait_and_the_slower_steps_and_the_end_of_writing():
    turn = stall.Turn(0.5, [3.0, 2.0, *[1.0] * stall.STEPS, 0.25])
    assert math.isclose(turn.lost, 0.5 + 2.0 + 1.0 + 0.25)


@pytest.mark.timeout(120)
def test_both_write_the_same_tensors():
    (row,) = stall.measure(Asked(small=True))
    assert row.ratio.median > 0
    assert row.difference.endswith("bit for bit")
