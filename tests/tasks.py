"""Toy data of tasks: pictures with classes, questions with answers, several captions of one picture."""

import json
from pathlib import Path

from tests.conftest import COLOURS, SHAPES, toy_picture, write_card, write_tar

ANSWERS = ["yes", "no", *COLOURS]
PEOPLE = 10


def questions(count: int, start: int = 0) -> list[dict]:
    """Samples that ask for the colour, or whether it is red; every seventh colour has a name that no class is."""
    samples = []
    for number in range(start, start + count):
        colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        asks_colour = number % 3 > 0
        said = ("grey-ish" if number % 7 == 0 else colour) if asks_colour else ("yes" if colour == "red" else "no")
        facts = {
            "question": "what colour is it?" if asks_colour else "is it red?",
            "answers": [said] * (PEOPLE - 2) + ["no idea"] * 2,
            "answer": said,
            "question_type": "colour" if asks_colour else "yes/no",
        }
        samples.append(
            {
                "__key__": f"q{number:04d}",
                "png": toy_picture(colour, shape, number // 16),
                "txt": facts["question"].encode(),
                "json": json.dumps(facts).encode(),
            }
        )
    return samples


def quiz(folder: Path) -> Path:
    """A dataset of questions: 48 to train on, 29 to ask."""
    folder.mkdir(parents=True)
    write_tar(folder / "train-00000.tar", questions(48))
    write_tar(folder / "val-00000.tar", questions(29, start=100))
    more = {"answers": "answers", "question_type": "question_type", "label": "answer", "classes": ANSWERS}
    splits = {"train": (["train-00000.tar"], 48), "val": (["val-00000.tar"], 29)}
    write_card(folder, splits, **more, text_group=None, gallery=None)
    return folder


def described(folder: Path, rows_a_picture: int = 1) -> Path:
    """Pictures with three captions each: in one sample, or in several samples of the same picture."""
    folder.mkdir(parents=True)
    for split, count, start in (("train", 24, 0), ("val", 11, 3)):
        write_tar(folder / f"{split}.tar", [s for n in range(count) for s in descriptions(n + start, rows_a_picture)])
    splits = {"train": (["train.tar"], 24 * rows_a_picture), "val": (["val.tar"], 11 * rows_a_picture)}
    write_card(folder, splits, captions="captions", text_group=None, gallery=None, label=None, classes=[])
    return folder


def descriptions(number: int, rows: int) -> list[dict]:
    colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
    captions = [f"a {colour} {shape}", f"the {shape} is {colour}", f"{colour} {shape} on white, number {number}"]
    facts = json.dumps({"captions": captions} if rows == 1 else {}).encode()
    picture = toy_picture(colour, shape, number // 16, 16 + number % 3)
    return [
        {"__key__": f"p{number:03d}_{row}", "png": picture, "txt": captions[row].encode(), "json": facts}
        for row in range(rows)
    ]
