"""One order: the same keys for any number of ranks and workers and after any stop."""

import itertools
from pathlib import Path

import pytest

from mmpretrain.data.loader import Data
from mmpretrain.recipes.data_order import digest_of_epoch, keys_of_epoch

RANKS, WORKERS = (1, 2, 3, 4), (0, 1, 3)


def digest(folder: Path, epoch: int = 1, ranks: int = 1, workers: int = 0, stop: int | None = None, **more: object):
    data = Data(**{"name": str(folder), "batch": 12, "workers": workers, **more})
    return digest_of_epoch(data, epoch, ranks, stop)[0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("ranks", "workers"), list(itertools.product(RANKS, WORKERS)))
def test_the_digest_is_that_of_one_rank_without_workers(shapes: Path, ranks: int, workers: int):
    assert digest(shapes, ranks=ranks, workers=workers) == digest(shapes)


def test_the_digest_survives_a_stop_at_any_step(shapes: Path):
    expected = digest(shapes)
    for stop in range(4, 9):
        assert digest(shapes, stop=stop) == expected
    assert digest(shapes, ranks=4, workers=1, stop=6) == expected


def test_epochs_and_seeds_differ_and_the_batch_does_not_matter(shapes: Path):
    assert len({digest(shapes, epoch) for epoch in range(6)} | {digest(shapes, seed=1)}) == 7
    assert digest(shapes, batch=10) == digest(shapes, batch=48) == digest(shapes)


def test_an_epoch_is_a_permutation_at_its_positions(shapes: Path):
    found = list(keys_of_epoch(Data(name=str(shapes), batch=20), 2, 1, None))
    assert [position for position, _ in found] == list(range(96, 144))
    assert len({key for _, key in found}) == 48
