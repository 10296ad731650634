"""Captions that are questions: what was answered, and by how many."""

import json
from typing import Any

import pytest

from mmpretrain.core.distributed import World
from mmpretrain.core.settings import build
from mmpretrain.data.card import Card
from mmpretrain.data.faults import BadSample
from mmpretrain.data.loader import evaluation_loader
from mmpretrain.data.samples import Reading, decode
from tests.conftest import toy_picture, write_card, write_tar
from tests.data.test_loader import open_toys

TREE = {
    "title": "x",
    "image": "png",
    "answers": "answers",
    "question_type": "kind",
    "label": "answer",
    "classes": ["yes", "no"],
    "splits": {"train": {"shards": ["x.tar"]}},
}


def members(**facts: Any) -> dict[str, bytes]:
    told = {"answers": ["yes", "no", " yes "], "answer": "yes", "kind": "is there", **facts}
    return {"png": toy_picture("red", "dot", 0), "txt": b"is it red?", "json": json.dumps(told).encode()}


def test_one_answer_and_the_answers_of_several_are_read_alike():
    sample = decode(build(Card, TREE), members(), "key", 0, Reading())
    assert (sample.caption, sample.answers, sample.question_type) == ("is it red?", ("yes", "no", "yes"), "is there")
    assert sample.label == 0
    one = decode(build(Card, TREE | {"answers": "answer"}), members(), "key", 0, Reading())
    assert one.answers == ("yes",)


def test_an_answer_that_no_class_is_has_no_class_but_is_an_answer():
    sample = decode(build(Card, TREE), members(answer="maybe", answers=["maybe"]), "key", 0, Reading())
    assert (sample.label, sample.answers) == (-1, ("maybe",))
    with pytest.raises(BadSample, match="unknown_class: answer is 'maybe'"):
        decode(build(Card, TREE | {"answers": None, "question_type": None}), members(answer="maybe"), "k", 0, Reading())


@pytest.mark.parametrize("answers", [[], "", " ", None, 3, ["yes", 3], {"yes": 1}])
def test_what_is_no_answer_is_named(answers: Any):
    with pytest.raises(BadSample, match="damaged_answer"):
        decode(build(Card, TREE), members(answers=answers), "key", 0, Reading())


def test_a_batch_carries_answers_and_kinds_of_question(tmp_path):
    samples = [{"__key__": f"q-{number}", **members(answers=[str(number)])} for number in range(4)]
    write_tar(tmp_path / "train-00000.tar", samples)
    more = {key: TREE[key] for key in ("answers", "question_type", "label", "classes")}
    write_card(tmp_path, {"train": (["train-00000.tar"], 4)}, **more, text_group=None, gallery=None)
    dataset, tokenizer = open_toys(tmp_path)
    batch = next(evaluation_loader(dataset, tokenizer, 16, World(), 4))
    assert batch.answers == (("0",), ("1",), ("2",), ("3",))
    assert batch.question_types == ("is there",) * 4
    assert batch.labels_B.tolist() == [0] * 4
