"""Which column of a table names the picture and which ones hold captions, and a row of it as a record."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.convert.picture import locate, names_picture
from mmpretrain.data.convert.record import Captions, LeftOut, Picture, Record
from mmpretrain.data.faults import BadSample

# the order decides where several are there
# fmt: off
IMAGE_NAMES = [
    "file_name", "image", "image_path", "filepath", "file_path", "filename", "file", "path", "img", "img_path",
    "image_name", "image_file", "image_id", "picture", "photo", "jpg", "png", "datei", "bild", "fichier", "fichero",
]
CAPTION_NAMES = [
    "caption", "captions", "text", "texts", "title", "sentence", "sentences", "description", "alt_text", "alttext",
    "alt", "comment", "raw", "prompt", "question", "texto", "titel", "titre", "legende", "beschreibung",
]
# fmt: on
LABEL_NAMES = ["label", "class", "category", "class_name", "label_name", "labels", "classes", "categories"]
PLURALS = frozenset({"labels", "classes", "categories", "tags"})
SEVERAL = "|"
"""What stands between several classes in a cell, where nobody says otherwise."""
NO_CLASS = "none of the classes"
"""Caption of a picture of which only its classes are told, and that has none."""
ANSWER_NAMES = ["answer", "answers", "multiple_choice_answer", "response", "antwort"]
QUESTION_NAMES = ["question", "questions", "query", "frage"]
_NUMBERED = re.compile(r"(caption|text|comment|sentence)[ _-]?\d+")
_OF_LANGUAGE = re.compile(r"(?:caption|text|title|description)[ _-]([a-z]{2,3}(?:[-_][a-z]{2,4})?)")


@dataclass(frozen=True)
class Columns:
    """The columns that matter; all others become facts."""

    image: str
    captions: tuple[str, ...]
    languages: tuple[str, ...] = ()
    """The language of each caption column; empty where they do not differ by language."""
    label: str | None = None
    """Class of the picture; where nothing else is said of it, its caption too."""
    answer: str | None = None
    """Answer to the caption, which then is a question."""
    several: bool = False
    """A picture may have several classes, or none."""
    label_separator: str | None = None
    """Between the classes of a cell; None: cells are lists."""

    @property
    def joins(self) -> bool:
        """Rows with the same picture are one sample: captions are, questions are not."""
        return self.answer is None

    @property
    def said(self) -> str:
        plural = "s" if len(self.captions) > 1 else ""
        classes = f"several, {self.label_separator!r} between them" if self.label_separator else "several"
        label = f", class column {self.label!r}{f' ({classes})' if self.several else ''}" if self.label else ""
        answer = f", answer column {self.answer!r}" if self.answer else ""
        captions = ", ".join(map(repr, self.captions))
        return f"picture column {self.image!r}, caption column{plural} {captions}{label}{answer}"


@dataclass(frozen=True)
class Wanted:
    """What the user says of a table; None and () leave it to sniffing."""

    separator: str | None = None
    encoding: str | None = None
    image_column: str | None = None
    caption_columns: tuple[str, ...] = ()
    """Several in their order; `de=titel` says that the column titel is German."""
    label_column: str | None = None
    label_separator: str | None = None
    answer_column: str | None = None
    follow_links: bool = False


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """What all tables in files have."""

    path: Path
    folder: Path
    """Where its pictures are, when it names them."""
    columns: Columns
    follow_links: bool
    has_pictures: bool = True

    @property
    def joins(self) -> bool:
        return self.columns.joins

    @property
    def label(self) -> str | None:
        return None if self.columns.answer else self.columns.label


def choose_columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]], wanted: Wanted, table: str) -> Columns:
    """The picture and caption columns: as wanted, else by their names, else by what stands in the first rows.

    Raises:
        ConfigError: a wanted column is not there, or nothing looks like one.
    """
    image = _wanted(wanted.image_column, names, "--image-column", table) or _image_column(names, rows)
    if image is None:
        raise ConfigError(f"{table}: no column names pictures; choose with --image-column one of {', '.join(names)}")
    others = [name for name in names if name != image]
    label = _wanted(wanted.label_column, names, "--label-column", table) or _first_known(others, LABEL_NAMES)
    answer = _wanted(wanted.answer_column, names, "--answer-column", table)
    several = _several(label, rows, wanted, table)
    if wanted.caption_columns:
        return replace(_as_wanted(image, wanted.caption_columns, names, table), label=label, answer=answer, **several)
    question = _first_known(others, QUESTION_NAMES)
    answer = answer or (_first_known(others, ANSWER_NAMES) if question else None)
    if question and answer:
        return Columns(image, (question,), label=label, answer=answer, **several)
    found = _caption_columns([name for name in others if name not in (label, answer)], rows) or (
        [label] if label else []
    )
    if not found:
        raise ConfigError(
            f"{table}: no column holds captions; choose with --caption-column (or, for classes, --label-column) one of "
            f"{', '.join(others)}"
        )
    spoken = [_OF_LANGUAGE.fullmatch(name.lower()) for name in found]
    languages = tuple(match[1] for match in spoken if match)
    return Columns(image, tuple(found), languages if len(languages) == len(found) else (), label, answer, **several)


def _several(label: str | None, rows: Sequence[Mapping[str, Any]], wanted: Wanted, table: str) -> dict[str, Any]:
    """Whether a cell holds several classes: lists do, and `a|b` in a column whose name is a plural."""
    if label is None:
        if wanted.label_separator:
            raise ConfigError(f"--label-separator: {table} has no column of classes; choose it with --label-column")
        return {}
    cells = [row.get(label) for row in rows]
    if any(isinstance(cell, list) for cell in cells):
        return {"several": True}
    written = [SEVERAL] if _plain(label) in PLURALS and any(SEVERAL in str(cell) for cell in cells) else []
    separator = next(iter([*([wanted.label_separator] if wanted.label_separator else []), *written]), None)
    return {"several": True, "label_separator": separator} if separator else {}


def _first_known(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The column whose name comes first among the known ones."""
    return next((name for each in known for name in names if _plain(name) == each), None)


def _as_wanted(image: str, given: Sequence[str], names: Sequence[str], table: str) -> Columns:
    pairs = [(language, name) for language, _, name in (text.rpartition("=") for text in given)]
    columns = tuple(str(_wanted(name, names, "--caption-column", table)) for _, name in pairs)
    languages = tuple(language for language, _ in pairs if language)
    if languages and len(languages) != len(columns):
        raise ConfigError("--caption-column: name the language of every caption column (en=NAME), or of none")
    return Columns(image, columns, languages)


def _wanted(name: str | None, names: Sequence[str], option: str, table: str) -> str | None:
    if name is not None and name not in names:
        raise ConfigError(f"{option}: {table} has no column {name!r}{did_you_mean(name, names)}")
    return name


def _image_column(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The column most of whose cells end like pictures; names decide between equals, or alone where cells do not."""

    def rank(name: str) -> tuple[float, int]:
        known = _plain(name)
        place = -IMAGE_NAMES.index(known) if known in IMAGE_NAMES else -len(IMAGE_NAMES)
        return sum(_is_picture(row.get(name)) for row in rows) / max(1, len(rows)), place

    best = max(names, key=rank, default=None)
    share, place = rank(best) if best is not None else (0.0, 0)
    return best if best is not None and (share >= 0.5 or place > -len(IMAGE_NAMES)) else None


def _is_picture(cell: object) -> bool:
    if isinstance(cell, Mapping):
        return "bytes" in cell
    return isinstance(cell, str) and names_picture(cell)


def _caption_columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Known names first, then numbered or one a language, at last the column with the longest words of text."""
    for known in CAPTION_NAMES:
        found = [name for name in names if _plain(name) == known]
        if found:
            return found[:1]
    for pattern in (_NUMBERED, _OF_LANGUAGE):
        found = [name for name in names if pattern.fullmatch(name.lower())]
        if found:
            return found
    spaces = {name: sum(str(row.get(name) or "").strip().count(" ") for row in rows) for name in names}
    best = max(names, key=lambda name: spaces[name], default=None)
    return [best] if best is not None and spaces[best] > 0 else []


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def record_of(row: Mapping[str, Any], columns: Columns, folder: Path, origin: str, follow: bool) -> Record | LeftOut:
    """A row as a record; its picture is looked for below the folder."""
    try:
        picture: Picture = locate(folder, row.get(columns.image), follow)
    except BadSample as error:
        return LeftOut(origin, error.reason, error.detail)
    return said_of(row, columns, origin, picture)


def said_of(row: Mapping[str, Any], columns: Columns, origin: str, picture: Picture) -> Record | LeftOut:
    """What a row says of a picture."""
    captions, facts = captions_of(row, columns), facts_of(row, columns)
    if columns.label:
        said = row.get(columns.label)
        if said is None or (said == "" and not columns.several):
            return LeftOut(origin, "missing_label", f"the column {columns.label!r} is empty")
        if isinstance(said, list) and not columns.several:
            return LeftOut(origin, "several_labels", f"the column {columns.label!r} has one class in the first rows")
        facts[columns.label] = classes_of(said, columns.label_separator) if columns.several else str(said)
        if columns.captions == (columns.label,) and columns.several:
            captions = [", ".join(facts[columns.label]) or NO_CLASS]
    if columns.answer:
        answers = texts(row.get(columns.answer))
        if not answers:
            return LeftOut(origin, "missing_answer", f"the column {columns.answer!r} is empty")
        facts |= {"question": first_of(captions), "answer": answers[0]}
        facts |= {"answers": answers} if len(answers) > 1 else {}
    return Record(origin, picture, captions, facts)


def classes_of(cell: Any, separator: str | None) -> list[str]:
    """The classes of a cell, each once, in the order of the alphabet; none of an empty one."""
    listed = cell if isinstance(cell, list) else str(cell).split(separator) if separator else [cell]
    return sorted({str(each).strip() for each in listed} - {""})


def first_of(captions: Captions) -> str:
    """The caption that trains."""
    every = captions if isinstance(captions, list) else [text for part in captions.values() for text in part]
    return every[0] if every else ""


def captions_of(row: Mapping[str, Any], columns: Columns) -> Captions:
    """The captions of a row: a cell may hold one, a list, or a list for each language."""
    if columns.languages:
        return {lang: texts(row.get(name)) for lang, name in zip(columns.languages, columns.captions, strict=True)}
    cells = [row.get(name) for name in columns.captions]
    if len(cells) == 1 and isinstance(cells[0], Mapping):
        return {str(language): texts(cell) for language, cell in cells[0].items()}
    return [text for cell in cells for text in texts(cell)]


def texts(cell: Any) -> list[str]:
    """A cell as captions: one text, several, or objects with the text in `raw` or `caption`."""
    if cell is None:
        return []
    if isinstance(cell, list | tuple):
        return [text for item in cell for text in texts(item)]
    if isinstance(cell, Mapping):
        return texts(next((cell[name] for name in ("raw", "caption", "text") if name in cell), None))
    return [str(cell)]


def facts_of(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Every other field that says something."""
    named = {columns.image, columns.answer, *columns.captions}
    return {
        name: value for name, value in row.items() if name not in named and name and value is not None and value != ""
    }
