"""The first card of a dataset, for people to complete. A function of the data: no dates, no machine."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mmpretrain.core.settings import build, parse_yaml
from mmpretrain.data.card import Card

_HEAD = "# Written by `mmpretrain data pack`; the fields are explained in mmpretrain/data/card.py.\n"
_ASK = "# Fill in who made the data and under which terms (an SPDX identifier) before you use or share it.\n"


def card_text(
    title: str,
    description: str,
    source: str,
    image: Sequence[str],
    splits: Mapping[str, Mapping[str, Any]],
    label: str | None = None,
    classes: Sequence[str] = (),
    several: bool = False,
    caption: str = "txt",
    fields: Mapping[str, Any] | None = None,
) -> str:
    """A card as YAML that loads, with a place for the licence.

    Args:
        several: the label's facts are lists of classes.
        fields: further fields that name facts of the JSON members.
    """
    pictures: Any = image[0] if len(image) == 1 else list(image) or None
    tree: dict[str, Any] = {"title": title, "description": description}
    made_by = {"name": source, "licence": "unknown", "attribution": "unknown", "url": "unknown"}
    facts: dict[str, Any] = {"image": pictures, "caption": caption, **(fields or {})}
    if label is not None:
        facts |= {"labels" if several else "label": label, "classes": list(classes), "templates": ["a photo of a {c}"]}
    text = f"{_HEAD}{_dump(tree)}{_ASK}{_dump({'sources': [made_by]})}{_dump(facts)}{_dump({'splits': dict(splits)})}"
    build(Card, parse_yaml(text))
    return text


def _dump(tree: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=110)
