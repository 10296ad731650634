"""Figures of one class and of several classes a row, against scikit-learn and torchmetrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MultilabelAveragePrecision,
)

from mmpretrain.core.errors import ConfigError
from mmpretrain.evaluation.classification import given_classes, of_labels, of_sets
from mmpretrain.evaluation.interval import figures, means, resampled
from mmpretrain.evaluation.one_label import (
    accuracy_figures,
    class_table,
    confusion_matrix,
    label_figures,
    random_chances,
)
from mmpretrain.evaluation.several_labels import average_precision, label_set_figures
from mmpretrain.evaluation.splits import Predicted

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SIZES = (st.integers(2, 60), st.integers(2, 7), st.integers(0, 999))
QUICK = settings(max_examples=25, deadline=None)


def rows(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, some of them foretold, and probabilities."""
    generator = np.random.default_rng(seed)
    label_N = generator.integers(0, classes, n)
    logits_NC = generator.normal(size=(n, classes))
    logits_NC[np.arange(n), label_N] += generator.normal(1, 1, n)
    return label_N, np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)


@given(*SIZES)
@QUICK
def test_one_class_a_row_gives_the_figures_of_scikit_learn(n: int, classes: int, seed: int):
    label_N, probability_NC = rows(n, classes, seed)
    found = {name: figure.value for name, figure in label_figures(label_N, probability_NC).items()}
    named_N = probability_NC.argmax(axis=1)
    precision, recall, f1, _ = theirs.precision_recall_fscore_support(
        label_N, named_N, average="macro", zero_division=0
    )
    expected = {
        "acc1": theirs.accuracy_score(label_N, named_N),
        "mean_per_class_recall": theirs.balanced_accuracy_score(label_N, named_N),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
        "loss": theirs.log_loss(label_N, probability_NC, labels=range(classes)),
    }
    if classes > 5:
        expected["acc5"] = theirs.top_k_accuracy_score(label_N, probability_NC, k=5, labels=range(classes))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@given(*SIZES)
@QUICK
def test_one_class_a_row_gives_the_figures_of_torchmetrics(n: int, classes: int, seed: int):
    label_N, probability_NC = rows(n, classes, seed)
    found = label_figures(label_N, probability_NC)
    scores, labels = torch.tensor(probability_NC), torch.tensor(label_N)
    assert found["acc1"].value == pytest.approx(float(MulticlassAccuracy(classes, average="micro")(scores, labels)))
    assert found["f1_macro"].value == pytest.approx(float(MulticlassF1Score(classes)(scores, labels)), rel=1e-5)
    ece = MulticlassCalibrationError(classes, n_bins=15, norm="l1")(scores, labels)
    assert found["ece"].value == pytest.approx(float(ece), abs=1e-5)


@given(*SIZES)
@QUICK
def test_the_table_of_classes_is_that_of_scikit_learn(n: int, classes: int, seed: int):
    label_N, probability_NC = rows(n, classes, seed)
    named_N = probability_NC.argmax(axis=1)
    expected = theirs.precision_recall_fscore_support(label_N, named_N, labels=range(classes), zero_division=0)
    table = class_table(label_N, named_N, [str(c) for c in range(classes)])
    for c, row in enumerate(table):
        values = [row[name] or 0.0 for name in ("precision", "recall", "f1")]
        assert values == pytest.approx([column[c] for column in expected[:3]])
        assert row["n"] == expected[3][c]
        assert (row["recall"] is None) == (row["n"] == 0)


def sets(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sets of classes of which each class occurs, and probabilities with ties."""
    generator = np.random.default_rng(seed)
    true_NC = generator.random((n, classes)) < 0.4
    true_NC[0] = True
    noisy_NC = np.clip(0.3 * true_NC + generator.random((n, classes)) * 0.7, 0, 1)
    return true_NC, np.round(noisy_NC, 1)


@given(*SIZES)
@QUICK
def test_several_classes_a_row_give_the_figures_of_scikit_learn_and_torchmetrics(n: int, classes: int, seed: int):
    true_NC, probability_NC = sets(n, classes, seed)
    found = {name: figure.value for name, figure in label_set_figures(true_NC, probability_NC).items()}
    named_NC = probability_NC > 0.5
    expected = {
        "mAP": theirs.average_precision_score(true_NC, probability_NC, average="macro"),
        "f1_micro": theirs.f1_score(true_NC, named_NC, average="micro", zero_division=0),
        "f1_macro": theirs.f1_score(true_NC, named_NC, average="macro", zero_division=0),
        "exact_match": theirs.accuracy_score(true_NC, named_NC),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    precision = MultilabelAveragePrecision(classes)(torch.tensor(probability_NC), torch.tensor(true_NC).int())
    assert found["mAP"] == pytest.approx(float(precision), abs=1e-5)


@given(*SIZES)
@QUICK
def test_rows_that_are_drawn_twice_count_twice(n: int, classes: int, seed: int):
    """Weights of a resample give what scikit-learn gives for its rows written out."""
    generator = np.random.default_rng(seed)
    true_NC, probability_NC = sets(n, classes, seed)
    drawn = generator.integers(0, n, n)
    weights_1N = np.bincount(drawn, minlength=n)[None].astype(float)
    true_N, score_N = true_NC[:, 0], probability_NC[:, 0]
    found = average_precision(true_N, score_N)(weights_1N)[0]
    if true_N[drawn].any():
        assert found == pytest.approx(theirs.average_precision_score(true_N[drawn], score_N[drawn]))
    else:
        assert np.isnan(found)


@given(*SIZES)
@QUICK
def test_chance_is_what_the_best_constant_answer_gets(n: int, classes: int, seed: int):
    label_N, probability_NC = rows(n, classes, seed)
    found = label_figures(label_N, probability_NC)
    shares_C = np.bincount(label_N, minlength=classes) / n
    constant = label_figures(label_N, np.tile(shares_C, (n, 1)))
    chances = {name: figure.chance for name, figure in found.items()}
    assert chances == pytest.approx({name: figure.value for name, figure in constant.items()}, abs=1e-9)


@given(*SIZES)
@QUICK
def test_no_constant_set_of_classes_is_better_than_chance(n: int, classes: int, seed: int):
    true_NC, probability_NC = sets(n, classes, seed)
    chances = {name: figure.chance for name, figure in label_set_figures(true_NC, probability_NC).items()}
    every = [np.array([number >> c & 1 for c in range(classes)], dtype=float) for number in range(2**classes)]
    tried = [label_set_figures_values(true_NC, np.tile(said_C, (n, 1))) for said_C in every[:64]]
    for name in ("f1_micro", "f1_macro", "exact_match"):
        assert max(each[name] for each in tried) <= chances[name] + 1e-9
    if classes <= 6:
        assert max(each["f1_micro"] for each in tried) == pytest.approx(chances["f1_micro"])


def label_set_figures_values(true_NC: np.ndarray, probability_NC: np.ndarray) -> dict[str, float]:
    named_NC = probability_NC > 0.5
    return {
        "f1_micro": theirs.f1_score(true_NC, named_NC, average="micro", zero_division=0),
        "f1_macro": theirs.f1_score(true_NC, named_NC, average="macro", zero_division=0),
        "exact_match": theirs.accuracy_score(true_NC, named_NC),
    }


def test_the_first_five_count_and_every_class_alike():
    scores = np.array([[9.0, 1, 0, 0, 0, 0], [9, 1, 0, 0, 0, 0], [9, 1, 0, 0, 0, 0], [9, 1, 2, 3, 4, 5]])
    found = accuracy_figures(np.array([0, 0, 0, 1]), scores, random_chances(6))
    assert {name: figure.value for name, figure in found.items()} == {
        "acc1": 0.75,
        "acc5": 0.75,
        "mean_per_class_recall": 0.5,
    }
    assert found["acc1"].chance == pytest.approx(1 / 6)
    assert confusion_matrix(np.array([0, 0, 0, 1]), scores.argmax(axis=1), 2) == [[3, 0], [1, 0]]


@given(*SIZES)
@QUICK
def test_the_confusion_is_that_of_scikit_learn(n: int, classes: int, seed: int):
    label_N, probability_NC = rows(n, classes, seed)
    named_N = probability_NC.argmax(axis=1)
    expected = theirs.confusion_matrix(label_N, named_N, labels=range(classes))
    assert (np.array(confusion_matrix(label_N, named_N, classes)) == expected).all()


def test_intervals_hold_their_values_and_metrics_share_their_resamples():
    label_N, probability_NC = rows(200, 4, 0)
    for figure in label_figures(label_N, probability_NC).values():
        assert figure.low <= figure.value <= figure.high or figure.value == pytest.approx(figure.low, rel=0.3)
    values_N = np.arange(50.0)
    spread = resampled(means({"one": values_N, "same": values_N, "shifted": values_N + 1}), 50)
    assert (spread["one"] == spread["same"]).all()
    assert np.allclose(spread["shifted"] - spread["one"], 1)


def test_a_resample_without_rows_of_a_kind_is_left_out_of_its_interval():
    values_N = np.array([np.nan, np.nan, 1.0])
    figure = figures(means({"rare": values_N}), 3, {"rare": 0.0}, {"rare": 1})["rare"]
    assert (figure.value, figure.low, figure.high, figure.n) == (1.0, 1.0, 1.0, 1)


def predicted(logits: torch.Tensor, **more: object) -> Predicted:
    n = len(logits)
    facts = {
        "dataset": "toys",
        "columns": (logits,),
        "classes": ["cat", "dog", "eel"],
        "card_classes": ["dog", "cat"],
        "labels_N": torch.tensor([0, 1, -1, 0][:n]),
        "label_sets": [()] * n,
        "answers": [()] * n,
        "keys": [f"k{row}" for row in range(n)],
    }
    return Predicted(**{**facts, **more})


def test_classes_are_matched_by_name_and_what_cannot_be_asked_is_told():
    logits = torch.tensor([[0.0, 3, 0], [3, 0, 0], [0, 0, 3], [3, 0, 0]])
    asked = predicted(logits)
    found = of_labels("classification", asked, given_classes("classification", asked), logits.softmax(dim=1).numpy())
    assert found.samples["label"] == ["dog", "cat", "dog"]
    assert found.samples["predicted"] == ["dog", "cat", "cat"]
    assert found.metrics["acc1"].value == pytest.approx(2 / 3)
    assert found.remarks == [
        "1 of 4 samples do not have one class and were not asked.",
        "1 of 3 classes have no example here: eel.",
    ]
    assert [each["row"] for each in found.shown["mistakes"]] == [3]


def test_classes_that_the_head_does_not_know_are_named_counted_and_left_out():
    logits = torch.eye(4)[:, :3]
    asked = predicted(logits, card_classes=["dog", "cot"])
    found = of_labels("classification", asked, given_classes("classification", asked), logits.softmax(dim=1).numpy())
    assert found.samples["key"] == ["k0", "k3"]
    assert found.facts["outside_classes"] == 1
    assert found.remarks[:2] == [
        "1 of 4 samples have classes that the head does not choose from ('cot' 1), and were left out.",
        "1 of 4 samples do not have one class and were not asked.",
    ]
    asked = predicted(logits, labels_N=torch.full((4,), -1), label_sets=[(0,), (0, 1), (), (0,)])
    asked = replace(asked, card_classes=["dog", "cot"])
    found = of_sets("tags", asked, given_classes("tags", asked), logits.sigmoid().numpy())
    assert found.samples["key"] == ["k0", "k2", "k3"]


def test_a_split_of_other_classes_alone_is_refused_by_name():
    asked = predicted(torch.zeros(4, 3), card_classes=["dig", "cot"])
    with pytest.raises(ConfigError, match=r"toys has the class 'dig', .* did you mean 'dog'.*, and none that it does"):
        given_classes("classification", asked)


def test_several_classes_a_row_may_be_none():
    logits = torch.tensor([[2.0, 2, -2], [-2, -2, -2], [-2, 2, -2]])
    asked = predicted(logits, labels_N=torch.tensor([-1, -1, -1]), label_sets=[(0, 1), (), (1,)])
    found = of_sets("tags", asked, given_classes("tags", asked), logits.sigmoid().numpy())
    assert found.samples["labels"] == [["cat", "dog"], [], ["cat"]]
    assert found.samples["exact_match"] == [1, 1, 0]
    assert found.metrics["exact_match"].value == pytest.approx(2 / 3)


def test_a_split_without_classes_is_refused():
    asked = predicted(torch.zeros(2, 3), labels_N=torch.tensor([-1, -1]))
    with pytest.raises(ConfigError, match="no sample of toys has one class"):
        of_labels("classification", asked, given_classes("classification", asked), np.full((2, 3), 1 / 3))
