"""The benchmark of the losses measures two forms of the same thing."""

import pytest

from mmpretrain.bench.loss import LOSSES, SCALES, measure, turn


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", SCALES)
def test_both_forms_are_of_the_same_loss(loss: str, scale: float) -> None:
    tiled, dense = (turn(loss, form, rows=100, width=32, scale=scale)() for form in ("tiled", "dense"))
    assert tiled == pytest.approx(dense, rel=1e-5)


def test_a_fresh_process_tells_how_much_memory_the_whole_matrix_takes_and_tiles_do_not() -> None:
    tiled, dense = measure("contrastive", ("tiled", "dense"), rows=3072, width=8, scale=14.0, rounds=1)
    matrix = 4 * 3072**2 / 1e6
    assert tiled.megabytes < matrix < 2 * matrix < dense.megabytes
    assert dense.difference < 1e-5
    assert dense.ratio == pytest.approx(tiled.seconds / dense.seconds)
