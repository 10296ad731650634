"""Runs side by side, as a reader and a spreadsheet get them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from mmpretrain.report import comparison
from mmpretrain.report.comparison import (
    Side,
    build_differences,
    build_figures,
    build_panels,
    build_settings,
    named_runs,
)
from mmpretrain.report.folder import Record, read_folder
from tests.report.conftest import HOSTILE, lay_out, result, retrieval_result


def difference(metric: str, value: float, low: float, high: float, against: str = "b", **more: Any) -> dict[str, Any]:
    found = {"value": value, "low": low, "high": high, "chance": 0.0, "n": 9}
    place = {"task": "retrieval", "split": "val", "metric": metric}
    return {"runs": ["a"], "against": [against], **place, "difference": found, "p": 0.03, **more}


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Record]:
    found = {}
    for number, name in enumerate("abc"):
        run = lay_out(tmp_path / name)
        run.config.write_text(f"train:\n  seed: {number}\n  steps: 4\nnote: '{HOSTILE}'\n")
        lines = [retrieval_result("val", step, 0.3 + number / 10, 0.2) for step in (2, 4)]
        run.results.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found[name] = read_folder(run)
    return found


def alone(runs: dict[str, Record]) -> list[Side]:
    return [Side(label=name, runs=[record]) for name, record in runs.items()]


def test_the_best_figure_is_marked_and_metrics_that_forgive_ties_are_left_out(runs: dict[str, Record]):
    (table,) = build_figures(alone(runs))
    rows = {row.metric: row for row in table.rows}
    assert list(rows) == ["image → text, R@10", "text → image, R@10", "text → image, median rank"]
    first = rows["image → text, R@10"]
    assert [cell.best for cell in first.cells if cell] == [False, False, True]
    assert [cell.value[:4] for cell in first.cells if cell] == ["30.0", "40.0", "50.0"]
    assert not any(cell.best for cell in rows["text → image, R@10"].cells if cell), "all are equal"


def test_a_side_of_several_runs_is_their_mean_and_spread(runs: dict[str, Record]):
    sides = [Side(label="both", runs=[runs["a"], runs["b"]]), Side(label="c", runs=[runs["c"]])]
    (table,) = build_figures(sides)
    both, _ = table.rows[0].cells
    assert both is not None
    assert (both.value[:4], both.range[:5]) == ("35.0", "± 7.1")
    assert [label for label, _ in named_runs(sides)] == ["a", "b", "c"]


def test_a_side_that_was_not_asked_has_no_figure(runs: dict[str, Record], tmp_path: Path):
    other = lay_out(tmp_path / "other")
    other.results.write_text(
        json.dumps(result("val", "zero_shot", 4, {"acc1": {"value": 1.0, "low": 1, "high": 1, "chance": 0.5, "n": 3}}))
        + "\n"
    )
    tables = list(build_figures([Side(label="a", runs=[runs["a"]]), Side(label="other", runs=[read_folder(other)])]))
    assert [table.title for table in tables] == ["Retrieval on val", "Zero-shot classification on val"]
    assert tables[0].rows[0].cells[1] is None
    assert tables[1].rows[0].cells[0] is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            difference("mean_R@10", 0.1, 0.05, 0.15),
            "a is better than b: both directions, R@10 on val, +10.0 points, +5.0 to +15.0.",
        ),
        (
            difference("mean_R@10", -0.1, -0.2, 0.1),
            "a and b cannot be told apart: both directions, R@10 on val, -10.0 points",
        ),
        (difference("t2i_median_rank", 3.0, 1.0, 5.0), "a is worse than b"),
    ],
)
def test_the_verdict_is_no_more_than_the_interval_says(found: dict[str, Any], said: str):
    (table,) = build_differences([found])
    assert table.verdict.startswith(said)


def test_intervals_share_an_axis_with_no_difference_in_its_middle():
    (table, other) = build_differences(
        [
            difference("i2t_R@1", 0.1, 0.0, 0.2),
            difference("i2t_R@5", -0.1, -0.2, -0.05),
            difference("i2t_R@1", 0, 0, 0, "c"),
        ]
    )
    first, second = table.rows
    assert (first.low, first.value, first.high, first.clear) == (0.5, 0.75, 1.0, False)
    assert (second.low, second.value, second.clear) == (0.0, 0.25, True)
    assert other.title == "a against c"
    assert other.rows[0].value == 0.5


def test_curves_have_a_line_a_run(runs: dict[str, Record]):
    panels = {panel.title: panel for panel in build_panels(list(named_runs(alone(runs))))}
    assert list(panels)[:2] == ["Loss", "Mean R@10 of image → text and text → image, val"]
    assert all([line.name for line in panel.series] == ["a", "b", "c"] for panel in panels.values())


def test_only_what_differs_is_listed():
    rows = build_settings([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}])
    assert [(row.name, row.values) for row in rows] == [("b", ["2", "3"]), ("c", ["–", "None"])]


def test_the_page_loads_nothing_and_keeps_foreign_text_as_text(runs: dict[str, Record]):
    source = comparison.render(alone(runs), [difference("mean_R@10", 0.1, 0.05, 0.15)])
    assert "<script" not in source.lower()
    assert "http" not in source.replace('http-equiv="Content-Security-Policy"', "")
    assert "<code>train.seed</code>" in source


def test_the_table_has_a_row_a_figure_and_a_row_a_difference(runs: dict[str, Record]):
    rows = list(csv.DictReader(io.StringIO(comparison.table(alone(runs), [difference("mean_R@10", 0.1, 0.05, 0.15)]))))
    assert len(rows) == 3 * 4 + 1
    assert (rows[-1]["kind"], rows[-1]["p"], rows[-1]["against"]) == ("difference", "0.03", "b")
    assert rows[0]["value"] == "0.3"
