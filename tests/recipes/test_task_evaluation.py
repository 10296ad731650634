"""Toy runs with heads and a decoder, evaluated as a user would: figures, lines by sample, refusals."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter, write_card, write_tar
from tests.tasks import described, questions, quiz

TINY = {"kind": "timm", "name": "test_vit", "size": 32}
TEXT = {"kind": "causal", "width": 16, "layers": 1, "heads": 2}


def train(toy_config: ConfigWriter, name: str, **more: object) -> Run:
    settings = {"evaluation": [], "train__steps": 3, "optim__schedule__warmup": 1, **more}
    return pretrain(toy_config(name, **settings), [], "never", Console(quiet=True))


def lines(place: Run, task: str, label: str = "val") -> list[dict]:
    return read_json_lines(place.predictions / f"{task}_{label}.jsonl")


def shown(place: Run, task: str, label: str = "val") -> dict:
    found: dict = json.loads((place.predictions / f"{task}_{label}.json").read_text())
    return found


@pytest.fixture
def classifier(toy_config: ConfigWriter) -> Run:
    towers = {"image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen"}}
    return train(toy_config, "classifier", towers=towers, objectives=[{"kind": "classification"}])


def test_a_classifier_is_evaluated_by_its_head(classifier: Run):
    record = evaluate(classifier.folder, "classification", ":val", [], None)
    metrics = record["metrics"]
    assert next(iter(metrics)) == "acc1"
    assert {"acc5", "mean_per_class_recall", "precision_macro", "recall_macro", "f1_macro", "ece", "loss"} < set(
        metrics
    )
    rows = lines(classifier, "classification")
    assert len(rows) == 13
    assert metrics["acc1"]["value"] == pytest.approx(sum(row["acc1"] for row in rows) / 13)
    found = shown(classifier, "classification")
    assert sum(map(sum, found["confusion"])) == 13
    assert all(len(mistake["image"]) > 10 for mistake in found["mistakes"]), "each with its picture"


def test_a_figure_that_is_missed_ends_the_command(classifier: Run):
    from mmpretrain.core.errors import QualityError

    with pytest.raises(QualityError, match="acc1 is"):
        evaluate(classifier.folder, "classification", ":val", ["acc1=1.1"], None)
    with pytest.raises(QualityError, match=r"loss is .* at most 0.01"):
        evaluate(classifier.folder, "classification", ":val", ["loss=0.01"], None)


def test_other_classes_than_the_heads_are_named(classifier: Run, shapes: Path, tmp_path: Path):
    folder = shutil.copytree(shapes, tmp_path / "other")
    samples = [{**s, "json": b'{"artist": "x", "concept": "y", "category": "pink"}'} for s in questions(3)]
    write_tar(folder / "val-00000.tar", samples)
    write_card(folder, {"val": (["val-00000.tar"], 3)}, classes=["red", "pink"])
    for stale in [*folder.glob("*.index"), folder / "manifest.json"]:
        stale.unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="other has the class 'pink', which the head classification does not choose"):
        evaluate(classifier.folder, "classification", f"{folder}:val", [], None)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("question_answering", "asks a head of that kind, and the run learned classification alone"),
        ("captioning", "learned classification and has no decoder that writes captions"),
        ("retrieval", "retrieval compares features that no objective trains"),
    ],
)
def test_a_wrong_task_for_a_run_is_refused_with_the_remedy(classifier: Run, task: str, said: str):
    with pytest.raises(ConfigError, match=said):
        evaluate(classifier.folder, task, ":val", [], None)


# -- questions --------------------------------------------------------------------------------------------


@pytest.fixture
def quizzed(toy_config: ConfigWriter, tmp_path: Path) -> Run:
    data = quiz(tmp_path / "quiz")
    towers = {"image": TINY, "text": TEXT, "embedding": 16}
    objectives = [
        {"kind": "question_answering", "reads": "product"},
        {"kind": "question_answering", "reads": "text", "name": "blind"},
    ]
    towers["text"] = {**TEXT, "width": 64}
    return train(toy_config, "quizzed", data__name=str(data), towers=towers, objectives=objectives)


def test_questions_are_answered_beside_the_baseline_that_does_not_look(quizzed: Run):
    with pytest.raises(ConfigError, match="there are the heads question_answering, blind; name one of them"):
        evaluate(quizzed.folder, "question_answering", ":val", [], None)
    record = evaluate(quizzed.folder, "question_answering", ":val", [], None, ["head=question_answering"])
    metrics = record["metrics"]
    beside = {"question_only_acc", "vqa_acc_above_question_only"}
    assert set(metrics) == {"vqa_acc", "vqa_acc_colour", "vqa_acc_yes/no", *beside}
    # of 29 questions 9 ask whether it is red: "no" is right in three of four
    assert metrics["vqa_acc_yes/no"]["n"] == 9
    assert metrics["question_only_acc"]["value"] > 0.3
    assert record["outside_vocabulary"] == sum(
        each["answers"][0] == "grey-ish" for each in lines(quizzed, "question_answering", "val_question_answering")
    )
    assert "no right answer that the head could choose, such as 'grey-ish'" in record["remarks"][0]
    rows = lines(quizzed, "question_answering", "val_question_answering")
    assert record["settings"] == {"head": "question_answering"}
    assert metrics["vqa_acc"]["value"] == pytest.approx(sum(row["vqa_acc"] for row in rows) / 29)
    blind = evaluate(quizzed.folder, "question_answering", ":val", [], None, ["head=blind"])
    assert blind["metrics"]["question_only_acc"]["value"] == metrics["question_only_acc"]["value"]
    assert (
        len(
            {
                row["answer"]
                for row in lines(quizzed, "question_answering", "val_blind")
                if row["question"] == "is it red?"
            }
        )
        == 1
    )


# -- captions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3])
def test_captions_are_written_once_a_picture_and_scored_beside_two_baselines(
    toy_config: ConfigWriter, tmp_path: Path, rows: int
):
    pytest.importorskip("pycocoevalcap")
    data = described(tmp_path / "described", rows)
    towers = {"image": TINY, "text": TEXT, "decoder": {"layers": 1, "start": "embedding"}, "embedding": 16}
    objectives = [{"kind": "captioning"}, *([{"kind": "contrastive"}] if rows == 3 else [])]
    place = train(toy_config, f"writer{rows}", data__name=str(data), towers=towers, objectives=objectives)
    words = ["tokenizer=approx", "java_scores=[]", "generation.most_tokens=6"]
    record = evaluate(place.folder, "captioning", ":val", [], None, words)
    assert record["tokenizer"] == "approx"
    assert record["baselines"]["nearest_neighbour"] == ("features" if rows == 3 else "image")
    found = lines(place, "captioning")
    assert len(found) == 11
    assert all(len(each["references"]) == 3 for each in found)
    metrics = record["metrics"]
    assert metrics["CIDEr"]["value"] == pytest.approx(sum(each["CIDEr"] for each in found) / 11)
    assert metrics["exact_match_nearest_neighbour"]["value"] > 0.3, "most pictures look like one that was learned"
    above = metrics["CIDEr_above_nearest_neighbour"]
    assert above["value"] == pytest.approx(metrics["CIDEr"]["value"] - metrics["CIDEr_nearest_neighbour"]["value"])
    beam = evaluate(place.folder, "captioning", ":val", [], None, [*words, "generation.kind=beam"])
    assert beam["settings"]["generation.kind"] == "beam"
    told = [f"{path}={json.dumps(value)}" for path, value in beam["settings"].items()]
    again = evaluate(place.folder, "captioning", ":val", [], None, told)
    assert again["metrics"] == beam["metrics"], "the settings in a record make it again"
    evaluate(place.folder, "captioning", ":val", [], None, [*words, "generation.prompt=a red"])
    assert [each["written"][:5] for each in lines(place, "captioning")] == ["a red"] * 11
    with pytest.raises(ConfigError, match=r"prompt: .* is longer than 5 tokens"):
        evaluate(place.folder, "captioning", ":val", [], None, [*words, "generation.prompt=a red dot is a red dot"])
    with pytest.raises(ConfigError, match=r"least_tokens: 15 tokens and an end .* the run's context is 12 tokens"):
        evaluate(place.folder, "captioning", ":val", [], None, ["tokenizer=approx", "generation.least_tokens=15"])
    with pytest.raises(ConfigError, match="tokenizer"):
        evaluate(place.folder, "captioning", ":val", [], None, ["tokenizer=none"])


# -- searches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3])
def test_a_picture_has_several_right_texts_however_they_were_packed(
    toy_config: ConfigWriter, tmp_path: Path, rows: int
):
    data = described(tmp_path / "described", rows)
    towers = {"image": TINY, "text": TEXT, "fusion": {"layers": 1}, "embedding": 16}
    objectives = [{"kind": "contrastive"}, {"kind": "matching", "negatives_within": 12}]
    place = train(toy_config, f"judge{rows}", data__name=str(data), towers=towers, objectives=objectives)
    record = evaluate(place.folder, "retrieval", ":val", [], None, ["rerank=4"])
    metrics = record["metrics"]
    assert (metrics["i2t_R@1"]["n"], metrics["t2i_R@1"]["n"]) == (11, 33)
    assert (record["galleries"], record["texts"], record["rerank"]) == ({"": 11}, {"": 33}, 4)
    assert {"i2t_found_share@5", "i2t_R@1_rerank", "t2i_R@10_rerank"} < set(metrics)
    assert len(lines(place, "retrieval")) == 44
    first = evaluate(place.folder, "retrieval", ":val", [], None, ["captions=first"])
    assert first["metrics"]["t2i_R@1"]["n"] == 11 * rows


def test_only_a_run_that_matches_can_judge_again(toy_config: ConfigWriter):
    place = train(toy_config, "pairs")
    with pytest.raises(ConfigError, match="the objective matching judges pairs, and the run has not learned it"):
        evaluate(place.folder, "retrieval", ":val", [], None, ["rerank=4"])


def test_a_dataset_alone_means_its_split_for_choosing_recipes(toy_config: ConfigWriter, shapes: Path, tmp_path: Path):
    place = train(toy_config, "pairs")
    assert evaluate(place.folder, "zeroshot", str(shapes), [], None)["split"] == "val"
    odd = tmp_path / "odd"
    odd.mkdir()
    write_card(odd, {"monday": (["monday.tar"], 1)})
    with pytest.raises(ConfigError, match=r"names no split; write one of .*odd:monday"):
        evaluate(place.folder, "zeroshot", str(odd), [], None)


# -- what learns from vectors -----------------------------------------------------------------------------


def test_a_probe_and_few_examples_learn_from_a_run_that_stays_as_it_is(toy_config: ConfigWriter, shapes: Path):
    place = train(toy_config, "pairs", data__batch=12)
    record = evaluate(place.folder, "probe", ":val", [], None)
    assert record["metrics"]["acc1"]["value"] > 0.5, "four colours in 48 pictures"
    assert record["vectors"] == "features"
    assert str(record["C"]) in {str(float(each)) for each in record["chosen_by"]}
    assert "calibration" in shown(place, "probe")
    pooled = evaluate(place.folder, "probe", f"{shapes}:val", [], None, ["vectors=image", "penalties=[1.0]"])
    assert (pooled["vectors"], pooled["C"], pooled["learned"]) == ("image", 1.0, 48)
    few = evaluate(place.folder, "fewshot", ":val", [], None, ["shots=[1,4]", "seeds=2"])
    names = [f"{method}_k{k}_acc1" for k in (1, 4) for method in ("probe", "prototypes", "tip_adapter")]
    assert list(few["metrics"]) == ["zero_shot_acc1", *names]
    assert len(shown(place, "few_shot")["curves"]) == 7
    assert few["metrics"]["probe_k4_acc1"]["value"] == pytest.approx(
        sum(row["probe_k4_acc1"] for row in lines(place, "few_shot")) / 13
    )


def test_what_is_learned_from_is_never_asked_about(classifier: Run):
    with pytest.raises(ConfigError, match="train_split: train is what is asked about; learn from another split"):
        evaluate(classifier.folder, "probe", ":train", [], None)
    turned = evaluate(classifier.folder, "probe", ":train", [], None, ["train_split=val", "penalties=[0.1]"])
    assert turned["settings"] == {"train_split": "val", "penalties": [0.1]}


def test_a_classifier_without_a_text_tower_is_probed_by_what_its_image_tower_pools(classifier: Run):
    few = evaluate(classifier.folder, "fewshot", ":val", [], None, ["shots=[2]", "seeds=2"])
    assert few["vectors"] == "image"
    assert set(few["metrics"]) == {"probe_k2_acc1", "prototypes_k2_acc1"}
    assert "tip_adapter needs features of texts; left out." in few["remarks"]
    assert evaluate(classifier.folder, "probe", ":val", [], None)["vectors"] == "image"


def test_a_run_of_texts_alone_has_nothing_to_probe(toy_config: ConfigWriter):
    towers = {"text": TEXT, "image": None}
    place = train(toy_config, "texts", towers=towers, objectives=[{"kind": "causal_language"}])
    with pytest.raises(ConfigError, match="probe looks at pictures, and the run has no image tower"):
        evaluate(place.folder, "probe", ":val", [], None)


# -- what is not installed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "package", "said"),
    [
        ("captioning", "pycocoevalcap", r'captioning: needs pycocoevalcap; pip install -e "\.\[captions\]"'),
        ("probe", "sklearn", r'probe: needs scikit-learn; pip install -e "\.\[eval\]"'),
        ("fewshot", "sklearn", r'few_shot: needs scikit-learn; pip install -e "\.\[eval\]"'),
    ],
)
def test_a_missing_package_is_told_before_anything_is_computed(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch, task: str, package: str, said: str
):
    towers = {"image": TINY, "text": TEXT, "decoder": {"layers": 1}, "embedding": 16}
    place = train(toy_config, "writer", towers=towers, objectives=[{"kind": "contrastive"}, {"kind": "captioning"}])
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("mmpretrain.recipes.evaluation.embedder", lambda *_: pytest.fail("too late"))
    with pytest.raises(ConfigError, match=said):
        evaluate(place.folder, task, ":val", [], None)
