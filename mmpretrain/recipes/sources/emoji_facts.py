"""What is known of an emoji beside its name: its subgroup in Unicode's list, and what its name says of its looks."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmpretrain.recipes.sources.from_emoji import (
    PACKAGES,
    SKIN_TONES,
    Drawing,
    Pair,
    every_drawing,
    splits_of_emoji,
    to_pair,
    without_presentation,
)
from mmpretrain.recipes.sources.from_packages import DebianPackage

UNICODE = DebianPackage(
    name="unicode-data",
    version="15.0.0-1",
    digest="5efef23bbb1c6a133ecbdd63a2cfa07159ccacf5466a49e2426101c5ecd691fc",
)
SOURCES = [*PACKAGES, UNICODE]
LIST = Path("usr/share/unicode/emoji/emoji-test.txt")
TONES = dict(zip(sorted(SKIN_TONES), ("light", "medium-light", "medium", "medium-dark", "dark"), strict=True))
NO_TONE = "none"
"""Of a drawing that has toned variants and is none of them: yellow, as a rule."""
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink", "grey")
WAYS = ("up", "down", "left", "right")
POINTS = re.compile(r"\b(arrow|pointing|pointed|thumbs|palm|facing|tilted|hand|button)\b")
"""Only beside these a name's left and right are directions: there is left luggage."""
HAIR = re.compile(r"\b(red|curly|white|blond) hair\b|\b(bald)\b")
OF_NO_COLOUR = re.compile(r"\b(mahjong|flower)\b")
"""Things whose names say a colour that not every artist gives them."""
UNSEEN = "fluent"
"""The artist kept apart."""
GENDERS = ("man", "woman", "person")


def read_subgroups(root: Path) -> dict[str, str]:
    """The subgroup of every emoji of Unicode 15.0, such as cat-face or arrow, by concept.

    Lines are `# subgroup: NAME`, and `1F9D1 200D 1F33E ; fully-qualified # ...` for an emoji of the one above.
    """
    found, subgroup = {}, ""
    for line in (root / LIST).read_text(encoding="utf-8").splitlines():
        if line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ").strip()
        elif line and not line.startswith("#"):
            codes = line.partition(";")[0].split()
            found[without_presentation("-".join(f"{int(code, 16):x}" for code in codes))] = subgroup
    return found


def attributes(drawing: Drawing, toned: set[str]) -> dict[str, str]:
    """What the code points and the name say of the looks: skin_tone, gender, hair, colour, direction.

    Args:
        toned: base concepts that have variants with a skin tone.
    """
    name = drawing.captions["en"].casefold().replace("’", "'")
    people = drawing.category == "People & Body"
    said = {
        "skin_tone": skin_tone(drawing, toned),
        "gender": only(GENDERS, name) if people else None,
        "hair": next((one or other for one, other in HAIR.findall(name)), None),
        "colour": None if people else colour(name),
        "direction": direction(name),
    }
    return {attribute: value for attribute, value in said.items() if value}


def skin_tone(drawing: Drawing, toned: set[str]) -> str | None:
    """The one tone of a drawing; None where nobody has one, or two differ."""
    tones = {TONES[code] for code in drawing.concept.split("-") if code in TONES}
    if not tones:
        return NO_TONE if drawing.concept in toned else None
    return tones.pop() if len(tones) == 1 else None


def colour(name: str) -> str | None:
    """The one colour that a name says; of a few things artists choose another one."""
    if OF_NO_COLOUR.search(name):
        return None
    return "light blue" if "light blue" in name else only(COLOURS, name)


def direction(name: str) -> str | None:
    """Up, down, left or right where a name says one of them of something that points."""
    plain = name.replace("wards", "")
    if not POINTS.search(plain) or "upside" in plain or "!" in plain:
        return None
    return only(WAYS, plain)


def only(words: tuple[str, ...], name: str) -> str | None:
    """The word that stands in a name, None where there is none or more than one of them."""
    found = set(re.findall(r"[a-z]+", name)) & set(words)
    return found.pop() if len(found) == 1 else None


class Described(NamedTuple):
    """A picture of the full set, with skin tones, and what is known of it."""

    pair: Pair
    split: str
    """As data_shards/emoji has it; of the artist kept apart `unseen`, and only concepts of train."""
    subcategory: str
    attributes: dict[str, str]

    @property
    def facts(self) -> dict[str, Any]:
        drawing = self.pair.drawing
        return {
            "artist": drawing.artist.name,
            "concept": drawing.concept,
            "category": drawing.category,
            "subcategory": self.subcategory,
            "licence": drawing.artist.licence,
            **self.attributes,
        }


def describe(root: Path, folder: Path, size: int, left_out: Counter[str]) -> Iterator[Described]:
    """Every picture of the full set that has a split and a subgroup.

    Args:
        root: the unpacked packages.
        folder: data_shards/emoji, whose shards say which concept is in which split.
        left_out: reasons are counted here.
    """
    drawings, subgroups = list(every_drawing(root, variants=True)), read_subgroups(root)
    toned = {drawing.base for drawing in drawings if drawing.base != drawing.concept}
    splits = {key.partition("-")[2]: split for key, split in splits_of_emoji(folder).items()}
    homes: dict[str, str] = {}
    for drawing in sorted(drawings, key=lambda drawing: splits.get(drawing.base, "")):  # test, train, val
        split = splits.get(drawing.base)
        if split is None or drawing.concept not in subgroups:
            left_out["no_split" if split is None else "newer_than_unicode_15"] += 1
            continue
        if drawing.artist.name == UNSEEN:
            if split != "train":
                left_out["unseen_artist_held_out"] += 1
                continue
            split = "unseen"
        pair = to_pair(drawing, size)
        if homes.setdefault(pair.pixels, split) != split:
            left_out["same_picture_in_another_split"] += 1
            continue
        yield Described(pair, split, subgroups[drawing.concept], attributes(drawing, toned))
