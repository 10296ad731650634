"""Records to samples: captions cleaned, equal pictures joined, duplicates and faults named."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.captions import clean_caption
from mmpretrain.data.convert.examine import Examined
from mmpretrain.data.convert.record import Captions, LeftOut, Picture, Record
from mmpretrain.data.faults import BadSample

DUPLICATE = "duplicate"
MAX_CHARACTERS = 16_000_000
"""Longest caption or document."""


@dataclass(slots=True)
class Merged:
    """A sample to be: one picture, or one text, and all that was said of it."""

    origin: str
    picture: Picture | None
    examined: Examined | None
    captions: Captions
    facts: dict[str, Any]
    split: str
    joined: list[dict[str, Any]] = field(default_factory=list)
    """Origin and facts of further rows with the same picture."""

    @property
    def first(self) -> str:
        """The caption that trains."""
        return all_captions(self.captions)[0]


@dataclass
class Merge:
    """Records on their way to samples, and what became of each of them."""

    joins: bool
    """Equal pictures are one sample; otherwise only exact duplicates go."""
    label: str | None
    """The fact that two rows with one picture must agree on."""
    split: str
    """Of records whose source names none."""
    classes: Sequence[str] = ()
    """Those that may occur; empty: all."""
    left_out: list[LeftOut] = field(default_factory=list)
    records: int = 0
    """Rows, files or entries of the source, left out or not."""
    joined: int = 0
    """Records that became further captions of a sample."""

    @property
    def bad(self) -> int:
        """Records left out, without exact duplicates: those lose nothing."""
        return sum(item.reason != DUPLICATE for item in self.left_out)

    @property
    def reasons(self) -> Counter[str]:
        return Counter(item.reason for item in self.left_out)

    def samples(
        self, items: Iterable[Record | LeftOut], examined: Mapping[Picture, Examined | BadSample]
    ) -> Iterator[Merged]:
        """Samples in the order of their first records; where rows are joined, after the last record only.

        Args:
            items: of one source.
            examined: what each picture turned out to be.
        """
        if not self.joins:
            yield from self._distinct(items, examined)
            return
        seen: dict[tuple[str, bytes], Merged] = {}
        for found in self._usable(items, examined):
            digest = found.examined.digest if found.examined else _digest(found)
            first = seen.setdefault((found.split, digest), found)
            if first is not found:
                self._join(first, found)
        yield from seen.values()

    def _distinct(
        self, items: Iterable[Record | LeftOut], examined: Mapping[Picture, Examined | BadSample]
    ) -> Iterator[Merged]:
        seen: dict[bytes, str] = {}
        for found in self._usable(items, examined):
            first = seen.setdefault(_digest(found), found.origin)
            if first == found.origin:
                yield found
            else:
                self._duplicate(found, first)

    def _usable(
        self, items: Iterable[Record | LeftOut], examined: Mapping[Picture, Examined | BadSample]
    ) -> Iterator[Merged]:
        for item in items:
            self.records += 1
            found = item if isinstance(item, LeftOut) else _to_sample(item, examined, self.split)
            if isinstance(found, Merged):
                found = self._of_known_class(found)
            if isinstance(found, LeftOut):
                self.left_out.append(found)
            else:
                yield found

    def _of_known_class(self, found: Merged) -> Merged | LeftOut:
        if self.label is None or not self.classes:
            return found
        said = found.facts.get(self.label)
        for name in said if isinstance(said, list) else [said]:
            if name not in self.classes:
                hint = did_you_mean(str(name), self.classes)
                return LeftOut(found.origin, "unknown_class", f"{name!r} is none of the {len(self.classes)}{hint}")
        return found

    def _join(self, first: Merged, found: Merged) -> None:
        if self.label is not None and first.facts.get(self.label) != found.facts.get(self.label):
            detail = f"the picture of {first.origin}, there {first.facts.get(self.label)!r}"
            self.left_out.append(LeftOut(found.origin, "two_labels", detail))
        elif _add_captions(first, found):
            self.joined += 1
        else:
            self._duplicate(found, first.origin)

    def _duplicate(self, found: Merged, first: str) -> None:
        detail = f"same {'text' if found.picture is None else 'picture and caption'} as {first}"
        self.left_out.append(LeftOut(found.origin, DUPLICATE, detail))


def _digest(sample: Merged) -> bytes:
    """Equal for samples that say the same of the same picture."""
    picture = sample.examined.digest if sample.examined else b""
    said = repr((sample.split, sample.captions, sorted(sample.facts.items())))
    return hashlib.sha256(picture + said.encode("utf-8", "surrogatepass")).digest()


def _to_sample(record: Record, examined: Mapping[Picture, Examined | BadSample], split: str) -> Merged | LeftOut:
    found = examined[record.picture] if record.picture is not None else None
    if isinstance(found, BadSample):
        return LeftOut(record.origin, found.reason, found.detail)
    try:
        captions = _cleaned(record.captions)
    except BadSample as error:
        return LeftOut(record.origin, error.reason, error.detail)
    return Merged(record.origin, record.picture, found, captions, record.facts, record.split or split)


def _cleaned(captions: Captions) -> Captions:
    """Captions without empty and repeated ones, languages without captions left out.

    Raises:
        BadSample: nothing is left, or one is longer than any text can be.
    """
    if isinstance(captions, dict):
        spoken = {language: _clean_list(texts) for language, texts in captions.items()}
        spoken = {language: texts for language, texts in spoken.items() if texts}
        if not spoken:
            raise BadSample("empty_caption", "no text in any language")
        return spoken
    cleaned = _clean_list(captions)
    if not cleaned:
        raise BadSample("empty_caption", "no text")
    return cleaned


def _clean_list(texts: list[str]) -> list[str]:
    cleaned = []
    for text in texts:
        if len(text) > MAX_CHARACTERS:
            raise BadSample("large_caption", f"{len(text):,} characters are more than {MAX_CHARACTERS:,}")
        try:
            cleaned.append(clean_caption(text))
        except BadSample:
            continue
    return list(dict.fromkeys(cleaned))


def all_captions(captions: Captions) -> list[str]:
    """Every caption, language after language."""
    return [text for texts in captions.values() for text in texts] if isinstance(captions, dict) else captions


def _add_captions(sample: Merged, other: Merged) -> bool:
    """Join the captions of another row with the same picture; False where it has nothing new."""
    known = set(all_captions(sample.captions))
    if all(text in known for text in all_captions(other.captions)):
        return False
    if isinstance(sample.captions, dict) and isinstance(other.captions, dict):
        for language, texts in other.captions.items():
            mine = sample.captions.setdefault(language, [])
            mine += [text for text in texts if text not in mine]
    else:
        # a list and languages: the list wins, for nobody said what language its texts are in
        new = [text for text in all_captions(other.captions) if text not in known]
        sample.captions = [*all_captions(sample.captions), *new]
    sample.joined.append({"origin": other.origin, **other.facts})
    return True
