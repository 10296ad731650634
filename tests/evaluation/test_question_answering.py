"""VQAv2's rule in the cases where it is not what one would think, and the baseline that does not look."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.data.told import Told
from mmpretrain.evaluation.question_answering import QuestionOnly, best_constant, report
from mmpretrain.evaluation.vqa_rule import CONTRACTIONS, accuracies, normalise, without_punctuation


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Red Ball", "red ball"),
        ("an apple a day", "apple day"),
        ("two", "2"),
        ("None", "0"),
        ("ten dogs and one cat", "10 dogs and 1 cat"),
        ("eleven", "eleven"),
        ("t-shirt", "t shirt"),  # a mark between letters becomes a space
        ("red, white", "red white"),  # one beside a space vanishes
        ("yes!", "yes"),
        ("what?!", "what"),
        ("1,000", "1000"),  # in a number all marks vanish
        ("1,000-2,000", "10002000"),
        ("7.5", "7.5"),
        ("st. john", "st john"),
        ("p.m.", "pm"),
        (".5", ".5"),
        ("3.", "3"),
        ("it's 10:30", "it's 10:30"),  # apostrophes and colons stay
        ("dont", "don't"),
        ("cant wont", "can't won't"),
        ("couldntve", "couldntve"),
        ("couldn'tve", "couldn't've"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),
        ("a\tb\nc", "b c"),
        ("  ", ""),
    ],
)
def test_answers_are_normalised_as_the_official_evaluation_does(answer: str, normal: str):
    assert normalise(answer) == normal


def test_only_32_full_stops_vanish():
    assert without_punctuation("." * 40) == "." * 8


def test_contractions_are_known_by_one_missing_apostrophe():
    for short in ("yall'd've", "y'alld've", "y'all'dve"):
        assert CONTRACTIONS[short] == "y'all'd've"
    assert len(CONTRACTIONS) == 114, "the official 120 without those with capitals and those that change nothing"


def official(answers: list[str], said: str) -> float:
    """The formula as it is written: the mean over all ways to leave one person out."""
    scores = []
    for left_out in range(len(answers)):
        others = answers[:left_out] + answers[left_out + 1 :]
        scores.append(min(1.0, others.count(said) / 3))
    return sum(scores) / len(scores)


@given(st.lists(st.sampled_from(["cat", "dog", "eel"]), min_size=10, max_size=10))
@settings(max_examples=60, deadline=None)
def test_ten_answers_score_by_the_mean_over_nine_of_them(answers: list[str]):
    found = accuracies(answers)
    for said in ("cat", "dog", "eel"):
        assert found.get(said, 0.0) == pytest.approx(official(answers, said))


def test_scores_of_ten_agree_with_the_published_table():
    """3 of 10 give 0.9, 2 give 0.6, 1 gives 0.3, 4 and more give 1."""
    for count, score in ((1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)):
        others = [f"other {n}" for n in range(10 - count)]
        assert accuracies(["cat"] * count + others)["cat"] == pytest.approx(score)


def test_one_answer_is_right_or_wrong_and_articles_do_not_matter():
    assert accuracies(["The cat"]) == {"cat": 1.0}
    assert accuracies(["cat", "cat"])["cat"] == 1.0
    assert accuracies(["cat", "dog"])["cat"] == 0.5
    assert accuracies(["cat", "cat", "dog"])["cat"] == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_ten_equal_answers_are_compared_as_they_stand_which_is_the_official_rule():
    assert accuracies(["t-shirt"] * 10) == {"t-shirt": 1.0}
    assert accuracies(["t-shirt"] * 9 + ["shirt"])["t shirt"] == 1.0


def told(question: str, answer: str | list[str], kind: str = "", key: str = "") -> Told:
    answers = (answer,) if isinstance(answer, str) else tuple(answer)
    return Told(
        key=key or question,
        caption=question,
        captions=(question,),
        text_groups=(0,),
        gallery="",
        image_group=0,
        label=-1,
        labels=(),
        answers=answers,
        question_type=kind,
    )


LEARNED = [
    told("is it red?", "yes", "yes/no"),
    told("is it red?", "no", "yes/no"),
    told("is it red?", "no", "yes/no"),
    told("is it blue?", "yes", "yes/no"),
    told("is it green?", "yes", "yes/no"),
    told("what is it?", "circle", "shape"),
]


def test_the_baseline_falls_back_from_question_to_kind_to_all():
    baseline = QuestionOnly(LEARNED)
    asked = [told(*each) for each in (("is it red?", "yes", "x"), ("is it pink?", "yes", "yes/no"), ("why?", "?", "z"))]
    assert baseline.answers(asked) == ["no", "yes", "yes"]
    assert baseline.answers([told("which?", "?", "shape")]) == ["circle"]


def test_of_equally_frequent_answers_the_first_in_the_alphabet_is_guessed():
    for order in itertools.permutations([told("q?", "b"), told("q?", "a")]):
        assert QuestionOnly(order).answers([told("q?", "c")]) == ["a"]


def test_figures_by_kind_of_question_stand_beside_the_baseline_and_chance():
    asked = [
        told("is it red?", "yes", "yes/no", "k0"),
        told("is it blue?", "no", "yes/no", "k1"),
        told("is it blue?", "no", "yes/no", "k2"),
        told("what is it?", "square", "shape", "k3"),
    ]
    said = ["yes", "no", "yes", "circle"]
    guessed = QuestionOnly(LEARNED).answers(asked)
    found = report(asked, said, np.full(4, 0.5), guessed, ["yes", "no", "circle"], "question_answering")
    assert found.shown["classes"] == ["circle", "no", "square", "yes"]
    assert found.shown["confusion"] == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
    values = {name: (figure.value, figure.chance, figure.n) for name, figure in found.metrics.items()}
    assert values == {
        "vqa_acc": (0.5, 0.5, 4),
        "question_only_acc": (0.0, 0.5, 4),
        "vqa_acc_above_question_only": (0.5, 0.0, 4),
        "vqa_acc_shape": (0.0, 1.0, 1),
        "vqa_acc_yes/no": (pytest.approx(2 / 3), pytest.approx(2 / 3), 3),
    }
    assert found.facts == {"head": "question_answering", "outside_vocabulary": 1, "reachable": 0.75}
    assert found.remarks == [
        "1 of 4 questions have no right answer that the head could choose, such as 'square'; they count as wrong."
    ]
    assert found.samples["vqa_acc"] == [1.0, 1.0, 0.0, 0.0]
    assert [each["type"] for each in found.shown["types"]] == ["shape", "yes/no"]


def test_a_run_whose_training_answers_cannot_be_read_says_so():
    found = report([told("q?", "a")], ["a"], np.ones(1), None, ["a"], "question_answering")
    assert "question_only_acc" not in found.metrics
    assert "question_only" not in found.samples
    assert found.remarks[0].startswith("question_only_acc was not computed")


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=10), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_no_constant_answer_beats_chance(answers: list[list[str]]):
    worth = [accuracies(each) for each in answers]
    means = {said: np.mean([each.get(normalise(said), 0.0) for each in worth]) for said in "abc"}
    assert best_constant(worth) == pytest.approx(max(max(means.values()), best_constant(worth)))
    assert max(means[said] for said in "bc") <= best_constant(worth) + 1e-9
