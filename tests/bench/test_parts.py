"""Works of the table of speed that need no other environment really run, on toy shapes."""

import math

from mmpretrain.bench import contrastive, loading, recall
from mmpretrain.bench.works import Asked

SMALL = Asked(small=True)


def test_the_loss_has_a_row_of_time_at_every_scale_and_only_those_that_are_asked_for() -> None:
    rows = {row.row: row for row in contrastive.measure(Asked(small=True, rows=["8 time 2048"]))}
    assert list(rows) == ["8 time 2048 scale 14", "8 time 2048 scale 100"]
    assert all(0 < row.ratio.median < math.inf and row.share is not None for row in rows.values())
    # relative, printed as 2e-08
    assert float(rows["8 time 2048 scale 14"].difference.split()[1]) < 1e-5


def test_the_loader_has_a_row_for_each_size_of_pictures_and_says_how_far_pixels_are_apart() -> None:
    full, scaled = loading.measure(SMALL)
    assert (full.row, scaled.row) == ("9 512x384 full", "9 1024x768 scaled")
    assert full.ratio.median > 1
    assert "at most 0.05" in full.difference
    assert "at most 2" in scaled.difference


def test_recalls_are_those_of_torch_topk_and_take_little_memory() -> None:
    rows = list(recall.measure(SMALL))
    assert [row.row for row in rows] == ["14 topk", "14 product"]
    for row in rows:
        assert 0 < row.ratio.low <= row.ratio.high < math.inf
        assert "answers of topk equal" in row.difference
    assert float(rows[0].remarks[0].split()[0]) < recall.EXTRA_MB
