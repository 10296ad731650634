"""A vocabulary without the pieces that nobody uses: a tokenizer's JSON in, a smaller one out, and which ids stay.

Texts made of pieces that are used come out as before, piece by piece. In byte-pair encoding every merge that led to a
used piece stays, with the pieces in between, and those were all that applied; the longest match of word pieces finds
the same ones, because they are there. Other texts fall into smaller pieces, down to bytes or characters, which all
stay.
"""

import json
from collections.abc import Mapping, Set
from typing import Any

from mmpretrain.core.errors import ConfigError

END = "</w>"
INSIDE = "##"


def reduced(text: str, used: Set[int]) -> tuple[str, list[int]]:
    """A smaller tokenizer.json and the ids that stayed, in rising order; their places are the new ids.

    Args:
        used: ids that have to stay.

    Raises:
        ConfigError: another kind of vocabulary than byte pairs and word pieces.
    """
    tree = json.loads(text)
    model = tree["model"]
    if model["type"] not in ("BPE", "WordPiece"):
        raise ConfigError(f"vocabulary: {model['type']} cannot be made smaller; BPE and WordPiece can")
    ids: dict[str, int] = model["vocab"]
    added = {each["content"]: each["id"] for each in tree["added_tokens"]}
    words = {number: word for word, number in {**ids, **added}.items()}
    # what pads texts has the id 0, whichever piece that is
    kept = {words[number] for number in used | {0} if number in words} | set(added) | {model.get("unk_token")}
    kept |= {word for word in ids if is_smallest(word)}
    if model["type"] == "BPE":
        model["merges"] = merges_to(kept, model["merges"])
    order = [number for number in sorted(words) if words[number] in kept]
    new = {number: place for place, number in enumerate(order)}
    model["vocab"] = {word: new[number] for word, number in ids.items() if word in kept}
    for each in tree["added_tokens"]:
        each["id"] = new[each["id"]]
    renumber(tree.get("post_processor"), new)
    return json.dumps(tree, ensure_ascii=False), order


def is_smallest(piece: str) -> bool:
    """A byte or a character, at the end of a word or not, inside a word or not."""
    return len(piece.removesuffix(END)) <= 1 or (piece.startswith(INSIDE) and len(piece) == len(INSIDE) + 1)


def merges_to(kept: set[str | None], merges: list[Any]) -> list[Any]:
    """The merges that lead to pieces that stay; pieces on the way are added to those."""
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    found = []
    # a merge is made of pieces of earlier ones
    for pair, merge in zip(reversed(pairs), reversed(merges), strict=True):
        if "".join(pair) in kept:
            kept |= set(pair)
            found.append(merge)
    return found[::-1]


def renumber(processor: Any, new: Mapping[int, int]) -> None:
    """The ids of start and end in what puts them around a text."""
    if isinstance(processor, dict):
        for special in (processor.get("special_tokens") or {}).values():
            special["ids"] = [new[number] for number in special["ids"]]
        for name in ("cls", "sep"):  # BertProcessing, RobertaProcessing: [token, id]
            if name in processor:
                processor[name][1] = new[processor[name][1]]
        for inner in processor.get("processors") or []:
            renumber(inner, new)
