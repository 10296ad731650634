"""The files of a sample: its picture's bytes, its first caption, and all that is known of it as JSON."""

import hashlib
import json
import math
from typing import Any

from mmpretrain.data.convert.examine import Resize, resized
from mmpretrain.data.convert.merge import Merged
from mmpretrain.data.convert.record import Picture
from mmpretrain.data.faults import BadSample

OWN_FACTS = ("captions", "origin", "sha256", "width", "height", "joined")
"""Fields of the JSON member that packing writes; a source's own of these names become `given_NAME`."""


def picture_bytes(picture: tuple[Picture, bytes], resize: Resize | None, max_bytes: int) -> bytes | BadSample:
    """The bytes to store of a (picture, digest)."""
    place, digest = picture
    try:
        content = place.read(max_bytes)
        if hashlib.sha256(content).digest() != digest:
            return BadSample("changed_image", f"{place.name} changed while it was packed")
        return content if resize is None else resized(content, resize)
    except BadSample as error:
        return error


def members(sample: Merged, content: bytes | None, was_resized: bool) -> dict[str, bytes]:
    """The files of a sample: picture, first caption, and everything that is known of it as JSON."""
    texts = {"txt": sample.first.encode()}
    if content is None or sample.examined is None:
        return texts | ({"json": to_json(sample.facts)} if sample.facts else {})
    found = sample.examined
    facts: dict[str, Any] = {
        "captions": sample.captions,
        "origin": sample.picture.name if sample.picture else sample.origin,
        "sha256": found.digest.hex(),
        "width": found.width,
        "height": found.height,
    }
    facts |= {f"given_{k}" if k in OWN_FACTS else k: v for k, v in sample.facts.items() if facts.get(k) != v}
    if sample.joined:
        facts["joined"] = sample.joined
    suffix = "jpg" if was_resized and content[:3] == b"\xff\xd8\xff" else found.suffix
    return {suffix: content, **texts, "json": to_json(facts)}


def to_json(facts: dict[str, Any]) -> bytes:
    """Compact JSON of whatever a table held: what JSON has no word for becomes text, not-a-number becomes null."""
    text = json.dumps(plain(facts), ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace")


def plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
