import json
import math
from pathlib import Path

import pytest

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.run import Run
from mmpretrain.launching.attempts import note_attempt
from mmpretrain.launching.progress import read_progress, sparkline
from mmpretrain.train.restarts import Restarts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    run.config.write_text("train: {steps: 100}\n")
    return run


def record(run: Run, step: int, seconds: float, **more: float) -> None:
    run.add_metrics({"step": step, "seconds": seconds, "samples_per_s": 8.0, "data_wait": 0.25, **more})


def test_time_left_follows_the_usual_step_not_the_one_with_an_evaluation_in_it(run: Run):
    for step in range(10, 60, 10):
        record(run, step, 300.0 if step == 30 else 20.0, loss=1.0)
    found = read_progress(run)
    assert found.seconds_a_step == 2.0
    assert found.seconds_left == 100.0
    assert (found.step, found.steps, found.data_wait) == (50, 100, 0.25)


def test_a_run_that_has_told_nothing_yet_has_no_rate_and_no_end(run: Run):
    found = read_progress(run)
    assert (found.step, found.steps, found.checkpoint, found.restarts) == (0, 100, 0, 0)
    assert found.seconds_left is None
    assert found.samples_per_s is None
    assert found.silent_for is None


def test_restarts_are_those_that_came_to_train_and_starts_that_lead_nowhere_are_told_beside_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for step in (0, 0, 5):
        Restarts(run.restarts).begin(step)
    (run.checkpoints / "step_00000005").mkdir(parents=True)
    note_attempt(run)
    assert (read_progress(run).restarts, read_progress(run).fruitless) == (2, 1)
    note_attempt(run)
    assert (read_progress(run).restarts, read_progress(run).fruitless) == (2, 2)
    (run.checkpoints / "step_00000006").mkdir()
    assert (read_progress(run).restarts, read_progress(run).fruitless) == (2, 0)


def test_a_complete_run_has_no_time_left(run: Run):
    record(run, 100, 10.0, loss=1.0)
    run.complete.write_text("100\n")
    assert read_progress(run).seconds_left is None


def test_the_newest_result_of_each_split_is_told(run: Run):
    for step, value in ((50, 0.1), (100, 0.2)):
        for split in ("val", "unseen"):
            run.add_result(
                {"task": "retrieval", "dataset": "d", "split": split, "step": step, "metrics": {"R": {"value": value}}}
            )
    assert [(line["split"], line["step"]) for line in read_progress(run).results] == [("val", 100), ("unseen", 100)]


def test_a_damaged_line_is_named(run: Run):
    run.metrics.write_text("{]\n")
    with pytest.raises(MmpretrainError, match=r"metrics\.jsonl: a line is no valid JSON"):
        read_progress(run)


def test_a_line_that_is_still_being_written_is_left_out(run: Run):
    record(run, 10, 1.0, loss=1.0)
    with run.metrics.open("a") as file:
        file.write(json.dumps({"step": 20})[:5])
    assert read_progress(run).step == 10


def test_a_sparkline_falls_as_its_values_do():
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([]) == ""


def test_a_sparkline_is_as_wide_as_a_line_and_takes_means():
    assert sparkline([0.0, 2.0, 1.0, 1.0, 5.0, 3.0], width=3) == "▁▁█"
    assert len(sparkline(list(map(float, range(1000))), width=40)) == 40


def test_a_sparkline_shows_where_the_loss_was_not_finite():
    assert sparkline([1.0, math.nan, math.inf, 2.0]) == "▁··█"
    assert sparkline([math.nan]) == "·"
