"""What a page shows of tasks: answers, captions, classes, few-shot curves; and what it says of them first."""

import json
from typing import Any

import pytest

from mmpretrain.core.run import Run
from mmpretrain.report import wording
from mmpretrain.report.answers import build_answers
from mmpretrain.report.captioned import build_captioned
from mmpretrain.report.classes import build_classes
from mmpretrain.report.few_shot import build_few_shot
from mmpretrain.report.folder import read_folder
from tests.report.conftest import figure, result, sample
from tests.report.test_page import Page

HOSTILE = "<script>alert(1)</script>"


def add(run: Run, task: str, metrics: dict[str, Any], shown: dict[str, Any], **facts: Any) -> None:
    """A result of the toy run, as the recipes leave it."""
    with run.results.open("a") as file:
        file.write(json.dumps({**result("val", task, 4, metrics), **facts}) + "\n")
    content = {"dataset": "toys", "split": "val", "step": 4, **shown}
    (run.predictions / f"{task}_val.json").write_text(json.dumps(content))


def answered(number: int, right: bool) -> dict[str, Any]:
    said = [["red", 8], [HOSTILE, 2]]
    return {**sample(number, "which colour?"), "answer": "red", "probability": 0.7, "vqa_acc": right, "answers": said}


def add_questions(run: Run) -> None:
    kinds = [{"type": "colour", "n": 30, "vqa_acc": 0.8, "examples": [answered(1, True), answered(2, False)]}]
    metrics = {"vqa_acc": figure(0.8, 0.3), "question_only_acc": figure(0.4, 0.3), "vqa_acc_colour": figure(0.8, 0.4)}
    remarks = ["3 of 30 questions have no right answer that the head could choose."]
    add(run, "question_answering", metrics, {"types": kinds, "n": 30}, remarks=remarks)


def test_questions_stand_with_picture_answer_and_what_people_said(toy_run: Run):
    add_questions(toy_run)
    (split,) = build_answers(read_folder(toy_run)) or ()
    assert [each.right for each in split.kinds[0].examples] == [True, False]
    assert split.kinds[0].examples[0].said == f"red (8), {HOSTILE} (2)"
    page = Page(toy_run)
    text = page.texts["answers"]
    for part in ("colour", "80.0 %", "of 30 questions", "which colour?", "70 %", HOSTILE):
        assert part in text.replace(wording.SPACE, " ")
    assert "<script" not in page.source.lower()
    assert "accuracy without a look" in page.texts["results"]
    assert "3 of 30 questions have no right answer" in page.texts["results"]


def test_what_a_run_was_trained_for_is_said_first(toy_run: Run):
    add_questions(toy_run)
    verdict = Page(toy_run).texts["verdict"].replace(wording.SPACE, " ")
    assert "On val, 80.0 % of the questions are answered rightly, 2.7 times what the best constant answer" in verdict
    assert "Without a look at the pictures: 40.0 %." in verdict


def test_heads_of_one_kind_are_told_apart(toy_run: Run):
    for head, value in (("question_answering", 0.8), ("blind", 0.4)):
        settings = {"head": head}
        add(toy_run, "question_answering", {"vqa_acc": figure(value)}, {"types": []}, head=head, settings=settings)
    record = read_folder(toy_run)
    assert [record.label_of("question_answering", each) for each in record.newest("question_answering")] == [
        "val",
        "val, head blind",
    ]
    page = Page(toy_run)
    assert "val, head blind" in page.texts["results"]
    assert "--task question_answering --data toys:val head=blind" in page.texts["reproduce"]


def captioning_metrics(score: float) -> dict[str, Any]:
    above = {**figure(score - 0.5), "low": score - 0.7, "high": score - 0.3, "chance": 0.0}
    return {
        "CIDEr": figure(score, 0.02),
        "Bleu_4": figure(0.2, 0.01),
        "CIDEr_nearest_neighbour": figure(0.5, 0.02),
        "CIDEr_above_nearest_neighbour": above,
        "exact_match_above_nearest_neighbour": {**above, "value": -0.1, "low": -0.2, "high": -0.05},
    }


def test_captions_stand_beside_those_of_people_and_scores_in_their_own_units(toy_run: Run):
    examples = [
        {
            **sample(1),
            "written": "A red ball",
            "references": ["a red ball", "ball"],
            "CIDEr": 3.2,
            "nearest_neighbour": "a box",
        },
        {**sample(2), "written": "", "references": [HOSTILE], "CIDEr": 0.0, "nearest_neighbour": ""},
    ]
    add(toy_run, "captioning", captioning_metrics(1.25), {"examples": examples}, tokenizer="ptb")
    (split,) = build_captioned(read_folder(toy_run)) or ()
    assert [each.right for each in split.pictures] == [True, False]
    page = Page(toy_run)
    for part in ("A red ball", "CIDEr 3.20", "≈ a box", "(nothing)", HOSTILE):
        assert part in page.texts["captions"]
    results = page.texts["results"].replace(wording.SPACE, " ")
    for part in ("CIDEr 1.250 1.125 to 1.375 0.020 62 × chance", "BLEU-4 20.0 %", "Words by the Penn Treebank."):
        assert part in results
    assert "CIDEr above the nearest picture’s caption +0.750 +0.550 to +0.950" in results
    assert "exact matches above the nearest picture’s caption -10.0 % -20.0 to -5.0 %" in results
    verdict = page.texts["verdict"].replace(wording.SPACE, " ")
    assert "On val, the captions score a CIDEr of 1.250, 62 times what the most frequent caption gives." in verdict
    assert "The caption of the nearest training picture gets 0.500: a difference of +0.750" in verdict


CLASSES = {
    "classes": ["cube", "ball", "none"],
    "confusion": [[6, 2, 0], [1, 5, 0], [0, 0, 0]],
    "table": [
        {"name": "cube", "n": 8, "named": 7, "precision": 6 / 7, "recall": 0.75, "f1": 0.8},
        {"name": "ball", "n": 6, "named": 7, "precision": 5 / 7, "recall": 5 / 6, "f1": 0.77},
        {"name": "none", "n": 0, "named": 0, "precision": None, "recall": None, "f1": None},
    ],
    "calibration": [
        {"low": 0.6, "high": 2 / 3, "n": 4, "probability": 0.62, "accuracy": 0.5},
        {"low": 14 / 15, "high": 1.0, "n": 10, "probability": 0.98, "accuracy": 0.9},
    ],
    "mistakes": [{**sample(3), "label": "cube", "predicted": HOSTILE, "probability": 0.97}],
    "n": 14,
}


def test_classes_have_a_table_a_calibration_and_the_surest_mistakes(toy_run: Run):
    metrics = {"acc1": figure(0.79, 0.57), "ece": figure(0.1, 0.0), "loss": figure(0.6, 0.68)}
    add(toy_run, "classification", metrics, CLASSES)
    first = (build_classes(read_folder(toy_run)) or [])[0]
    assert first.task == "Classification"
    assert [row.figures[0] for row in first.table] == [f"85.7{wording.SPACE}%", f"71.4{wording.SPACE}%", ""]
    assert [bar.share for bar in first.calibration] == [0.4, 1.0]
    page = Page(toy_run)
    text = page.texts["classes"].replace(wording.SPACE, " ")
    for part in ("Classification on val", "cube 85.7 % 75.0 % 80.0 % 8", "Surest mistakes", "97 % sure", HOSTILE):
        assert part in text
    assert "Zero-shot classification on val" in text, "every task that names classes"
    titles = [dict(a).get("aria-label") or "" for tag, a in page.tags if tag == "svg"]
    assert any("10 pictures named with 98" in title for title in titles)
    results = page.texts["results"].replace(wording.SPACE, " ")
    assert "loss 0.600 0.540 to 0.660 0.680" in results


def test_several_labels_a_picture_have_a_table_and_no_confusion(toy_run: Run):
    table = [{"name": "cube", "n": 3, "named": 3, "precision": 1.0, "recall": 1.0, "f1": 1.0, "average_precision": 0.9}]
    add(toy_run, "classification", {"mAP": figure(0.9)}, {"table": table, "n": 5})
    first = (build_classes(read_folder(toy_run)) or [])[0]
    assert first.map is None
    assert first.columns[-1] == "average precision"
    page = Page(toy_run)
    assert "average precision" in page.texts["classes"]
    verdict = page.texts["verdict"].replace(wording.SPACE, " ")
    assert "On val, the mean average precision of the classes is 90.0 %, 18 times what guessing gives." in verdict


def compressed_row(name: str, size: int, recall: float, **drops: Any) -> dict[str, Any]:
    figure = {"value": recall, "low": recall - 0.1, "high": recall + 0.1, "chance": 0.1}
    return {"name": name, "bytes": size, "scores": {"i2t_R@10": figure, "t2i_R@10": figure}, "drops": drops}


def test_compressions_of_the_runs_own_weights_are_curves_of_size_and_score(toy_run: Run):
    own = "ab" * 32
    checkpoint = toy_run.checkpoints / "step_00000004"
    checkpoint.mkdir(parents=True)
    manifest = {"files": {"weights.safetensors": {"bytes": 8, "sha256": own}}}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    lost = {"value": -0.05, "low": -0.08, "high": -0.01}
    rows = [compressed_row("original", 8_000_000, 0.5), compressed_row("int8", 2_000_000, 0.45, **{"mean_R@10": lost})]
    for name, weights in (("small", own), ("of_another", "0" * 64), ("damaged", "")):
        folder = toy_run.folder.parent / name
        folder.mkdir()
        facts = {"run": "elsewhere", "weights": weights, "split": "toy:val", "rows": rows}
        (folder / "table.json").write_text(json.dumps(facts))
    page = Page(toy_run)
    assert "small toy:val int8: 4.0 times smaller, R@10 45.0 % instead of 50.0 %" in page.texts["compressed"]
    assert "of_another" not in page.texts["compressed"]


def test_few_shot_curves_are_drawn_over_doubling_numbers_of_examples(toy_run: Run):
    points = [{"method": "zero_shot", "k": 0, **figure(0.3), "seeds": [0.3]}]
    points += [{"method": "probe", "k": k, **figure(0.1 * (n + 2)), "seeds": [0.2]} for n, k in enumerate((1, 2, 4))]
    metrics = {"zero_shot_acc1": figure(0.3), "probe_k4_acc1": figure(0.4)}
    add(toy_run, "few_shot", metrics, {"curves": points, "n": 9}, seeds=5, learned_from="train")
    (drawing,) = build_few_shot(read_folder(toy_run)) or ()
    assert [(line.name, line.steps) for line in drawing.panel.series] == [
        ("zero-shot", [1, 2, 4]),
        ("logistic regression", [1, 2, 4]),
    ]
    page = Page(toy_run)
    assert "logistic regression 40.0" in page.texts["few_shot"]
    assert "examples a class" in drawing.svg
    assert "Learned from train, 5 draws." in page.texts["results"]


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("vqa_acc_yes/no", "accuracy, yes/no"),
        ("vqa_acc_above_question_only", "accuracy (VQA) above an answer without a look"),
        ("tip_adapter_k16_acc1", "Tip-Adapter, 16 a class"),
        ("CIDEr_most_frequent", "CIDEr of the most frequent caption"),
        ("R@5_rerank", "R@5, the best judged again"),
        ("found_share@10", "share of right answers among the first 10"),
        ("zero_shot_acc1", "zero-shot, by texts alone"),
    ],
)
def test_metrics_have_names_that_people_read(metric: str, name: str):
    assert wording.metric_name(metric) == name


def test_units_follow_the_metric():
    assert wording.figure_text("i2t_R@1_rerank", 0.5) == f"50.0{wording.SPACE}%"
    assert wording.figure_text("i2t_median_rank", 12) == "12.0"
    assert wording.figure_text("CIDEr", 1.5) == "1.500"
    assert wording.figure_text("loss", 0.25) == "0.250"
    assert [wording.lower_is_better(name) for name in ("loss", "x_loss", "ece", "t2i_median_rank", "acc1")] == [
        True,
        True,
        True,
        True,
        False,
    ]
