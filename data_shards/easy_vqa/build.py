"""Make the easy-VQA shards beside this file from one pinned PyPI package (3.2 MB, MIT licence).

    python data_shards/easy_vqa/build.py                     # downloads with pip; nothing of it is installed or run
    python data_shards/easy_vqa/build.py --packages FOLDER   # where the wheel is already

A sample is one question about one picture, as `mmpretrain data pack` makes them of VQAv2: the question is the
caption; answer, kind of question and numbers stand in the JSON member. test is the package's own; val is a tenth of
its training pictures with all of their questions. The pictures are the package's files, byte for byte.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmpretrain.data.convert.members import to_json
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.from_packages import Wheel, main

PACKAGES = [
    Wheel(
        name="easy-vqa",
        version="1.0",
        digest="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
    )
]
FOLDER = Path("easy_vqa/data")
HELD_OUT = 0.1
"""Share of the package's training pictures in val."""
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")


class Question(NamedTuple):
    """A question about a picture of one part of the package, train or test."""

    part: str
    number: int
    text: str
    answer: str
    image: int

    @property
    def key(self) -> str:
        return f"{self.part}-{self.number:05d}"

    @property
    def picture(self) -> str:
        return f"{self.part}/images/{self.image}.png"

    @property
    def kind(self) -> str:
        """What is asked: whether there is a shape or a colour, whether there is none, which colour, which shape."""
        if self.answer not in ("yes", "no"):
            return "which colour" if self.answer in COLOURS else "which shape"
        words = set(re.findall(r"\w+", self.text))
        asked = "a colour" if words & set(COLOURS) else "a shape"
        return f"{'is there not' if words & {'no', 'not'} else 'is there'} {asked}"

    @property
    def facts(self) -> dict[str, Any]:
        """The names that VQAv2 has for these."""
        return {
            "question_id": self.key,
            "image_id": f"{self.part}-{self.image}",
            "question": self.text,
            "question_type": self.kind,
            "answer_type": "yes/no" if self.answer in ("yes", "no") else "other",
            "answer": self.answer,
        }


def read_questions(folder: Path, part: str) -> Iterator[Question]:
    """Every question of a part in the order of the file: `[question, answer, number of the picture]`."""
    entries = json.loads((folder / part / "questions.json").read_text(encoding="utf-8"))
    for number, (text, answer, image) in enumerate(entries):
        yield Question(part, number, text, answer, image)


def held_out(questions: list[Question]) -> set[str]:
    """Pictures of val: by lot, so that all questions about a picture stay together."""
    pictures = {question.picture for question in questions}
    by_lot = sorted(pictures, key=lambda picture: hashlib.sha256(f"easy-vqa 1 {picture}".encode()).digest())
    return set(by_lot[: round(HELD_OUT * len(by_lot))])


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write the shards; returns questions by split, and nothing left out."""
    folder = root / FOLDER
    known, test = (list(read_questions(folder, part)) for part in ("train", "test"))
    kept_apart = held_out(known)
    splits = {
        "train": [question for question in known if question.picture not in kept_apart],
        "val": [question for question in known if question.picture in kept_apart],
        "test": test,
    }
    for split, questions in splits.items():
        with ShardWriter(out, split) as writer:
            for question in questions:
                png = (folder / question.picture).read_bytes()
                writer.write(question.key, {"png": png, "txt": question.text.encode(), "json": to_json(question.facts)})
    return Counter({split: len(questions) for split, questions in splits.items()}), Counter()


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, PACKAGES, "questions", build)
