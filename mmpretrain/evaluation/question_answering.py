"""Visual question answering: VQA's accuracy, by kind of question, beside what the questions alone give away."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.told import Told
from mmpretrain.evaluation.answering import WRITES, Answers, answer_all
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import Figure, as_in_training, figures, means
from mmpretrain.evaluation.shown import spread
from mmpretrain.evaluation.vqa_rule import accuracies, normalise
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import Generation
from mmpretrain.heads.question_answering import scores_of

DIFFERENCE = "vqa_acc_above_question_only"
"""What looking is worth: paired, question by question."""
NAMED = 5
"""Answers that a remark names."""
CONFUSED = 16
OTHERS = "(others)"
"""Answers of the confusion matrix, the most frequent ones; and the name of all others."""
EXAMPLES = 3
"""Questions of each kind, right and wrong ones each, of which a report shows the picture."""


@settings
class QuestionAnsweringTask(OfSplit):
    """Ask a question-answering head about every question of a split."""

    asks = ("question_answering", "answer_writing")
    kind: Literal["question_answering"] = "question_answering"
    head: str = ""
    """Name of the head; empty: the only one of its kind."""
    answers: Answers = "written"
    """Of a head that writes. written: word by word; listed: the likeliest of the classes that its card lists (BLIP).
    Others choose among their classes."""
    generation: Generation = field(default_factory=Greedy)
    """How answers are written."""

    def build(self) -> "QuestionAnsweringEvaluator":
        return QuestionAnsweringEvaluator(self)


class QuestionAnsweringEvaluator:
    """vqa_acc by VQAv2's rule, vqa_acc_TYPE for each kind of question, and question_only_acc of the same questions:
    the most frequent answer of the training data to the same question, else to the same kind, else to any. What is
    above that is what looking is worth.

    Chance is the best constant answer to the same questions.
    """

    name = "question_answering"
    headline: Sequence[str] = ("vqa_acc", "question_only_acc")

    def __init__(self, settings: QuestionAnsweringTask) -> None:
        self.split = settings.split
        self._settings = settings

    def run(self, model: Embedder) -> Found:
        """Answer all.

        Raises:
            ConfigError: the split holds no answers to compare with.
        """
        head = self._settings.head
        told = model.told(self.split)
        if not all(each.answers for each in told):
            raise ConfigError(f"evaluation: {self.split} has no answers; name their field in dataset.yaml (`answers`)")
        answered = answer_all(model, self.split, head, self._settings.answers, self._settings.generation)
        learned = [each for name in model.training for each in model.told(name)]
        baseline = QuestionOnly(learned)
        guessed = baseline.answers(told) if baseline.knows_any else None
        found = report(told, answered.said, answered.sure_N, guessed, answered.classes, head)
        classes = answered.classes
        if model.heads[head].kind == WRITES or classes is None:
            # what writes answers tells in training how many of their words are right
            return replace(found, facts=found.facts | answered.facts)
        lessons = not_learned(learned, classes)
        facts = found.facts | lessons | agreement(told, answered.said, classes)
        return replace(found, facts=facts, remarks=[*found.remarks, *lost(lessons, len(learned))])


def report(
    told: Sequence[Told],
    said: Sequence[str],
    sure_N: np.ndarray,
    guessed: Sequence[str] | None,
    classes: Sequence[str] | None,
    head: str,
) -> Found:
    """What came out.

    Args:
        said: the answer to each question.
        guessed: the baseline's; None: there is none.
        classes: what could be said; None: anything.
    """
    worth = [accuracies(each.answers) for each in told]
    types = [each.question_type for each in told]
    columns = {"vqa_acc": scores(said, worth)}
    if guessed is not None:
        columns["question_only_acc"] = scores(guessed, worth)
        columns[DIFFERENCE] = columns["vqa_acc"] - columns["question_only_acc"]
    outside, reachable = out_of_reach(told, worth, classes)
    return Found(
        metrics=vqa_figures(columns, types, worth),
        samples={
            "key": [each.key for each in told],
            "question": [each.caption for each in told],
            "question_type": types,
            "answer": list(said),
            "probability": [round(float(sure), 6) for sure in sure_N],
            "answers": [list(each.answers) for each in told],
            **({"question_only": list(guessed)} if guessed is not None else {}),
            **{name: values_N.tolist() for name, values_N in columns.items()},
        },
        facts={"head": head, **reachable},
        remarks=[*outside_remark(outside, len(told)), *no_baseline(guessed)],
        shown={"types": examples_by_type(told, said, sure_N, columns["vqa_acc"]), **confusion(worth, said)},
    )


def confusion(worth: Sequence[Mapping[str, float]], said: Sequence[str]) -> dict[str, Any]:
    """Counts of what was said, by the answer that most people gave; rare answers together as `OTHERS`."""
    right = [max(sorted(each), key=lambda answer: each[answer], default=OTHERS) for each in worth]
    given = [normalise(answer) for answer in said]
    names = [answer for answer, _ in (Counter(right) + Counter(given)).most_common(CONFUSED)]
    names = [*sorted(names), *([OTHERS] if {*right, *given} - set(names) else [])]
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for true, answer in zip(right, given, strict=True):
        counts[places.get(true, len(names) - 1), places.get(answer, len(names) - 1)] += 1
    return {"classes": names, "confusion": counts.tolist(), "n": len(said)}


def out_of_reach(
    told: Sequence[Told], worth: Sequence[Mapping[str, float]], classes: Sequence[str] | None
) -> tuple[Counter[str], dict[str, Any]]:
    """Answers to questions that no class answers, and what is told of that; nothing where anything can be said."""
    if classes is None:
        return Counter(), {}
    known = {normalise(name) for name in classes}
    reachable = [max((score for answer, score in each.items() if answer in known), default=0.0) for each in worth]
    outside = Counter(each.answers[0] for each, best in zip(told, reachable, strict=True) if not best)
    return outside, {"outside_vocabulary": outside.total(), "reachable": float(np.mean(reachable))}


def scores(said: Sequence[str], worth: Sequence[Mapping[str, float]]) -> np.ndarray:
    """What each answer is worth."""
    return np.array([each.get(normalise(answer), 0.0) for answer, each in zip(said, worth, strict=True)])


def vqa_figures(
    columns: Mapping[str, np.ndarray], types: Sequence[str], worth: Sequence[Mapping[str, float]]
) -> dict[str, Figure]:
    """Each column, and vqa_acc of each kind of question, all of the same resamples."""
    chances = {**dict.fromkeys(columns, best_constant(worth)), DIFFERENCE: 0.0}
    columns, counts = dict(columns), {}
    for kind in sorted(set(types) - {""}):
        own = np.array([each == kind for each in types])
        name = f"vqa_acc_{kind}"
        columns[name] = np.where(own, columns["vqa_acc"], np.nan)
        counts[name] = int(own.sum())
        chances[name] = best_constant([each for each, asked in zip(worth, own, strict=True) if asked])
    return figures(means(columns), len(types), chances, counts)


def best_constant(worth: Iterable[Mapping[str, float]]) -> float:
    """What whoever always gives one answer gets."""
    total: dict[str, float] = defaultdict(float)
    count = 0
    for each in worth:
        count += 1
        for answer, score in each.items():
            total[answer] += score
    return max(total.values()) / count


class QuestionOnly:
    """Answers without a look: what people most often said in the training data."""

    def __init__(self, learned: Iterable[Told]) -> None:
        self._of_question: dict[str, Counter[str]] = defaultdict(Counter)
        self._of_type: dict[str, Counter[str]] = defaultdict(Counter)
        self._of_all: Counter[str] = Counter()
        for each in learned:
            for answer in each.answers:
                self._of_question[each.caption][answer] += 1
                self._of_type[each.question_type][answer] += 1
                self._of_all[answer] += 1

    @property
    def knows_any(self) -> bool:
        return bool(self._of_all)

    def answers(self, asked: Sequence[Told]) -> list[str]:
        """To each question; of equally frequent answers the first in the alphabet."""
        return [self._answer(each) for each in asked]

    def _answer(self, asked: Told) -> str:
        found = self._of_question.get(asked.caption) or self._of_type.get(asked.question_type) or self._of_all
        return min(found, key=lambda answer: (-found[answer], answer))


def agreement(told: Sequence[Told], said: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """How often the head gives the answer that most people gave of those it could give, as in training."""
    place = {name: number for number, name in enumerate(classes)}
    best = [best_answer(each.answers, place) for each in told]
    right_N = np.array([np.nan if b is None else float(a == b) for a, b in zip(said, best, strict=True)])
    frequent = Counter(answer for answer in best if answer is not None)
    chance = max(frequent.values()) / frequent.total() if frequent else 0.0
    return as_in_training(right_N, chance)


def best_answer(answers: Sequence[str], place: Mapping[str, int]) -> str | None:
    """By score, of equal ones the first class; None: no class was given."""
    scores = {answer: score for answer, score in scores_of(answers).items() if answer in place}
    return min(scores, key=lambda answer: (-scores[answer], place[answer])) if scores else None


def not_learned(learned: Sequence[Told], classes: Sequence[str]) -> dict[str, int]:
    """How many questions of the training data have no answer that the head could choose."""
    known = set(classes)
    count = sum(bool(each.answers) and not known & set(each.answers) for each in learned)
    return {"outside_vocabulary_in_training": count}


def lost(lessons: Mapping[str, int], n: int) -> list[str]:
    count = sum(lessons.values())
    if not count:
        return []
    return [f"{count:,} of {n:,} training questions have no answer among the head's; it learned nothing from them."]


def outside_remark(outside: Counter[str], n: int) -> list[str]:
    if not outside:
        return []
    named = ", ".join(repr(answer) for answer, _ in outside.most_common(NAMED))
    return [
        f"{outside.total():,} of {n:,} questions have no right answer that the head could choose, such as {named}; "
        "they count as wrong."
    ]


def no_baseline(guessed: Sequence[str] | None) -> list[str]:
    if guessed is not None:
        return []
    return ["question_only_acc was not computed: the training data have no answers that could be read again."]


def examples_by_type(
    told: Sequence[Told], said: Sequence[str], sure_N: np.ndarray, worth_N: np.ndarray
) -> list[dict[str, Any]]:
    """For each kind of question some right and some wrong answers, spread over the split."""
    by_type: dict[str, list[int]] = defaultdict(list)
    for row, each in enumerate(told):
        by_type[each.question_type].append(row)
    return [
        {
            "type": kind,
            "n": len(rows),
            "vqa_acc": float(worth_N[rows].mean()),
            "examples": [
                {
                    "row": row,
                    "answer": said[row],
                    "probability": float(sure_N[row]),
                    "vqa_acc": float(worth_N[row]),
                    "answers": Counter(told[row].answers).most_common(),
                }
                for wanted in (worth_N[rows] >= 0.5, worth_N[rows] < 0.5)
                for row in spread([row for row, fits in zip(rows, wanted, strict=True) if fits], EXAMPLES)
            ],
        }
        for kind, rows in sorted(by_type.items())
    ]
