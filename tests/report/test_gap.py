"""How far training and held-out splits are apart, by one measure, in words and curves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.evaluation.interval import as_in_training
from mmpretrain.evaluation.question_answering import best_answer
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report import wording
from mmpretrain.report.curves import choose_panels
from mmpretrain.report.folder import read_folder
from mmpretrain.report.gap import build_gaps
from tests.conftest import ConfigWriter
from tests.report.conftest import figure, record, result
from tests.report.test_page import Page
from tests.tasks import quiz


def taught(run: Run, name: str, training: float) -> None:
    """Training tells the accuracy of an objective, which rises to a value at its last two steps of 40."""
    lines = [{**record(step), f"{name}/accuracy": training * min(1.0, step / 37)} for step in range(1, 41)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def asked(run: Run, task: str, step: int, metrics: dict[str, Any], split: str = "val", **facts: Any) -> None:
    with run.results.open("a") as file:
        file.write(json.dumps({**result(split, task, step, metrics), **facts}) + "\n")


def verdict(run: Run) -> str:
    return Page(run).texts["verdict"].replace(wording.SPACE, " ")


@pytest.mark.parametrize(
    ("task", "metric", "name", "facts"),
    [
        ("classification", "acc1", "classification", {"head": "classification"}),
        ("classification", "acc1", "colour", {"head": "colour"}),
        ("segmentation", "pixel_accuracy", "segmentation", {}),
        ("held_out", "captioning_accuracy", "captioning", {}),
    ],
)
def test_a_large_gap_is_named_with_its_remedy(toy_run: Run, task: str, metric: str, name: str, facts: dict):
    taught(toy_run, name, 0.982)
    asked(toy_run, task, 20, {metric: figure(0.6)}, **facts)
    asked(toy_run, task, 40, {metric: figure(0.7)}, **facts)
    said = f"Accuracy of {name}: 98.2 % on training batches, as they are augmented, 70.0 % on val, a gap of 28.2 points"
    assert f"{said}: much of it is learned by heart." in verdict(toy_run)
    panel = next(each for each in choose_panels(read_folder(toy_run)) if each.title.startswith(f"Accuracy of {name}"))
    assert [(line.name, line.steps[-1], len(line.steps)) for line in panel.series] == [
        ("val", 40, 2),
        ("training batches", 40, 40),
    ]
    assert panel.summary == "training ends 28.2 points above val"
    titles = [each.title for each in choose_panels(read_folder(toy_run))]
    assert "Accuracy" not in titles, "the same curves are drawn once"


def test_a_gap_within_the_interval_is_none(toy_run: Run):
    taught(toy_run, "classification", 0.75)
    asked(toy_run, "classification", 40, {"acc1": figure(0.7)}, head="classification")
    assert "75.0 % on training batches, as they are augmented, 70.0 % on val, no gap beyond" in verdict(toy_run)
    (panel,) = [each for each in choose_panels(read_folder(toy_run)) if each.title.startswith("Accuracy of")]
    assert len(panel.series[0].steps) == 1, "a single figure is a point"


def test_training_is_told_up_to_the_step_that_was_evaluated(toy_run: Run):
    taught(toy_run, "classification", 0.74)
    asked(toy_run, "classification", 20, {"acc1": figure(0.35)}, head="classification")
    (gap,) = build_gaps(read_folder(toy_run))
    assert gap.training == pytest.approx(0.02 * np.mean([19, 20]))


def test_what_is_not_measured_alike_is_not_compared(toy_run: Run):
    taught(toy_run, "classification", 0.9)
    asked(toy_run, "classification", 40, {"mAP": figure(0.7)}, head="classification")
    asked(toy_run, "question_answering", 40, {"vqa_acc": figure(0.7)}, head="question_answering")
    assert build_gaps(read_folder(toy_run)) == []
    asked(toy_run, "classification", 40, {"mAP": figure(0.7)}, head="classification", as_in_training=figure(0.8))
    (gap,) = build_gaps(read_folder(toy_run))
    assert gap.points == pytest.approx(0.1)


def test_rows_that_training_does_not_ask_do_not_count():
    found = as_in_training(np.array([1.0, np.nan, 0.0, 1.0]), 0.5)["as_in_training"]
    assert (found["value"], found["n"], found["chance"]) == (pytest.approx(2 / 3), 3, 0.5)
    assert as_in_training(np.array([np.nan]), 0.5) == {}


def test_the_answer_that_training_holds_for_right_is_the_first_of_equals():
    place = {"red": 0, "blue": 1}
    assert best_answer(["blue"] * 3 + ["red"] * 3 + ["pink"] * 4, place) == "red"
    assert best_answer(["blue"] * 4 + ["red"], place) == "blue"
    assert best_answer(["pink"], place) is None


def test_a_run_that_learns_questions_says_its_gap(toy_config: ConfigWriter, tmp_path: Path):
    towers = {
        "image": {"kind": "timm", "name": "test_vit", "size": 32},
        "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
    }
    config = toy_config(
        "quiz",
        data__name=str(quiz(tmp_path / "quiz")),
        towers=towers,
        objectives=[{"kind": "question_answering", "reads": "product"}],
        evaluation=[{"kind": "question_answering", "split": "val"}],
    )
    run = pretrain(config, [], "auto", Console(quiet=True))
    (found,) = read_json_lines(run.results)
    assert found["as_in_training"]["n"] == 29 - found["outside_vocabulary"]
    (gap,) = build_gaps(read_folder(run))
    assert gap.said in verdict(run).replace("\n", " ") or gap.said.replace(wording.SPACE, " ") in verdict(run)
