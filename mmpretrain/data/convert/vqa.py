"""VQAv2: a JSON of questions and a JSON of annotations; every question is a sample, its answers are facts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmpretrain.data.convert.picture import IMAGE_SUFFIXES, FilePicture, files_below, suffix_of
from mmpretrain.data.convert.record import LeftOut, Record

_LAST_NUMBER = re.compile(r"(\d+)\.\w+$")


@dataclass(frozen=True)
class Questions:
    """`{"questions": [{image_id, question, question_id}]}` with `{"annotations": [{question_id, answers}]}`.

    Pictures are found by the number that ends their name, as in COCO_val2014_000000000042.jpg or 42.jpg.
    """

    path: Path
    folder: Path
    tree: dict[str, Any]
    annotations: dict[str, Any] | None
    """None: questions without answers, as in a test set."""
    follow_links: bool = False
    kind: str = "VQAv2"
    joins: bool = False
    has_pictures: bool = True
    label: str | None = None

    @property
    def said(self) -> str:
        answers = "without answers" if self.annotations is None else "with answers"
        return f"{self.path.name}: VQAv2, {len(self.tree['questions']):,} questions {answers}"

    @cached_property
    def _pictures(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for path in files_below(self.folder, self.follow_links):
            number = _LAST_NUMBER.search(path)
            if number and suffix_of(path) in IMAGE_SUFFIXES:
                found.setdefault(int(number[1]), []).append(path)
        return found

    def __iter__(self) -> Iterator[Record | LeftOut]:
        entries = [] if self.annotations is None else self.annotations["annotations"]
        answered = {entry.get("question_id"): entry for entry in entries}
        for number, question in enumerate(self.tree["questions"]):
            origin = f"{self.path.name}: question {question.get('question_id', number)}"
            annotation = answered.get(question.get("question_id"))
            if self.annotations is not None and annotation is None:
                yield LeftOut(origin, "missing_answer", "no annotation has this question_id")
                continue
            yield self._record(origin, question, annotation or {})

    def _record(self, origin: str, question: dict[str, Any], annotation: dict[str, Any]) -> Record | LeftOut:
        image_id = str(question.get("image_id"))
        paths = self._pictures.get(int(image_id), []) if image_id.isdigit() else []
        if len(paths) != 1:
            detail = f"{len(paths)} pictures in {self.folder} have the number {image_id}: {', '.join(paths[:2])}"
            return LeftOut(origin, "ambiguous_image" if paths else "missing_image", detail.removesuffix(": "))
        text = str(question.get("question") or "")
        facts = {"question_id": question.get("question_id"), "image_id": question.get("image_id"), "question": text}
        facts |= _answers(annotation)
        return Record(origin, FilePicture(str(self.folder), paths[0], self.follow_links), [text], facts)


def _answers(annotation: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {key: annotation[key] for key in ("question_type", "answer_type") if key in annotation}
    if "multiple_choice_answer" in annotation:
        facts["answer"] = annotation["multiple_choice_answer"]
    if "answers" in annotation:
        facts["answers"] = [entry["answer"] if isinstance(entry, dict) else entry for entry in annotation["answers"]]
    return facts
