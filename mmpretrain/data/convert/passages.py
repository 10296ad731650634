"""Documents cut into consecutive passages, each with the one that follows it: for pretraining from texts alone."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.captions import clean_caption
from mmpretrain.data.convert.merge import all_captions
from mmpretrain.data.convert.record import LeftOut, Record, Source
from mmpretrain.data.faults import BadSample

CARD_FIELDS = {"text_group": "document", "next": "next"}
"""What the card of a set of passages says of their JSON members."""
_PARAGRAPH = re.compile(r"\n\s*\n")
# a sign that ends a sentence, with the quotes, brackets and marks that may stand behind it
_END = re.compile(r"[.!?…][\"'”’»)\]*_]*$")
# fmt: off
_ABBREVIATIONS = frozenset({
    "mr.", "mrs.", "ms.", "dr.", "st.", "messrs.", "rev.", "capt.", "col.", "gen.", "lt.", "esq.", "vs.", "cf.", "e.g.",
    "i.e.",
})
# fmt: on


@dataclass(frozen=True)
class Passages:
    """Each document of a source as a row of samples."""

    documents: Source
    words: int
    """Most words of a passage."""
    joins: bool = False
    has_pictures: bool = False
    label: str | None = None

    @property
    def kind(self) -> str:
        return f"{self.documents.kind}, in passages of at most {self.words} words"

    @property
    def said(self) -> str:
        return f"{self.documents.said}; in passages of at most {self.words} words that end with a sentence"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        names: set[str] = set()
        for item in self.documents:
            if isinstance(item, LeftOut):
                yield item
                continue
            name = document_name(item.origin)
            # notes.md beside notes.txt: the second one keeps its suffix
            name = item.origin if name in names else name
            names.add(name)
            yield from self._of_document(item, name)

    def _of_document(self, document: Record, name: str) -> Iterator[Record | LeftOut]:
        try:
            found = list(passages(clean_caption(" ".join(all_captions(document.captions)[:1])), self.words))
        except BadSample as error:
            yield LeftOut(document.origin, error.reason, error.detail)
            return
        if len(found) == 1:
            detail = f"no second passage follows its {len(found[0].split())} words"
            yield LeftOut(document.origin, "single_passage", detail)
        own = {f"given_{k}" if k in ("document", "place", "next") else k: v for k, v in document.facts.items()}
        for place, (passage, following) in enumerate(pairwise(found)):
            facts = {**own, "document": name, "place": place, "next": following}
            yield Record(f"{document.origin}: passage {place}", None, [passage], facts, document.split)


def in_passages(source: Source, words: int) -> Passages:
    """The documents of a source in passages.

    Raises:
        ConfigError: the source holds pictures, whose captions are no documents.
    """
    if source.has_pictures:
        raise ConfigError("--passage-words: this source holds pictures; give texts, with --format documents")
    return Passages(source, words)


def document_name(origin: str) -> str:
    """`a/b.txt` as `a/b`, and `c.jsonl:3` as `c:3`."""
    path, colon, line = origin.rpartition(":")
    if colon and line.isdigit():
        return f"{os.path.splitext(path)[0]}:{line}"
    return os.path.splitext(origin)[0]


def passages(text: str, words: int) -> Iterator[str]:
    """Consecutive parts of a text, of `words` words at most, as long as whole sentences allow; single spaces.

    A sentence of more words is cut behind a word. Words are what spaces stand between: a text in a script without
    spaces is one word to this function.
    """
    passage: list[str] = []
    for piece in pieces(text, words):
        if passage and len(passage) + len(piece) > words:
            yield " ".join(passage)
            passage = []
        passage += piece
    if passage:
        yield " ".join(passage)


def pieces(text: str, words: int) -> Iterator[list[str]]:
    """The words of each sentence, those of a long one in parts."""
    for paragraph in _PARAGRAPH.split(text):
        for sentence in sentences(paragraph.split()):
            for start in range(0, len(sentence), words):
                yield sentence[start : start + words]


def sentences(words: list[str]) -> Iterator[list[str]]:
    """Words up to one that ends a sentence: by its sign, and by what follows. A rule for European languages."""
    sentence: list[str] = []
    for word, following in pairwise([*words, ""]):
        sentence.append(word)
        if not following or (_ends(word) and not _goes_on(following)):
            yield sentence
            sentence = []


def _ends(word: str) -> bool:
    bare = word.lower().lstrip("\"'“‘«([*_")
    # "J. Austen": a letter with a stop is a name
    return bool(_END.search(word)) and bare not in _ABBREVIATIONS and not re.fullmatch(r"[^\W\d]\.", bare)


def _goes_on(word: str) -> bool:
    """Whether a word with a small letter goes on with the sentence before it: "'Oh!' said she"."""
    return next((letter for letter in word if letter.isalnum()), "").islower()
