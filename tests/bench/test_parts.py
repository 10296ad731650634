"""Works of the table of speed that need no other environment really run, on toy shapes."""

import math

from mmpretrain.bench import contrastive, loading
from mmpretrain.bench.works import Asked

SMALL = Asked(small=True)


def test_the_loss_has_rows_of_time_at_every_scale_and_of_memory() -> None:
    rows = {row.row: row for row in contrastive.measure(SMALL)}
    assert list(rows) == ["8 time 2048 scale 14", "8 time 2048 scale 100", "8 memory 2048"]
    assert all(row.ratio.median > 0 and math.isfinite(row.ratio.median) for row in rows.values())
    assert all(0 < row.share < 1.5 for row in rows.values() if row.share is not None)
    # relative, printed as 2e-08
    assert float(rows["8 time 2048 scale 14"].difference.split()[1]) < 1e-5


def test_the_loader_has_a_row_for_each_size_of_pictures_and_says_how_far_pixels_are_apart() -> None:
    full, scaled = loading.measure(SMALL)
    assert (full.row, scaled.row) == ("9 512x384 full", "9 1024x768 scaled")
    assert full.ratio.median > 1
    assert "at most 0.05" in full.difference
    assert "at most 2" in scaled.difference


def test_only_the_rows_that_are_asked_for_are_measured() -> None:
    asked = Asked(small=True, rows=["8 memory 2048"])
    assert [row.row for row in contrastive.measure(asked)] == ["8 memory 2048"]
