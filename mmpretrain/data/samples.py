"""From bytes in a tar to a picture and a text. Only PNG, JPEG, WebP, UTF-8 and JSON are ever decoded."""

import io
import json
import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import DataError
from mmpretrain.data.card import Card
from mmpretrain.data.index import ShardIndex

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000
OPEN_FILES = 32


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One pair, decoded but not yet transformed."""

    key: str
    position: int
    image: Image.Image
    caption: str
    image_group: int
    text_group: int
    label: int
    gallery: str


class ShardReader:
    """Members by offset, each checked against its CRC-32; keeps a bounded number of files open."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, int] = OrderedDict()

    def read(self, index: ShardIndex, sample: int) -> dict[str, bytes]:
        """The members of a sample by suffix.

        Raises:
            DataError: the bytes are not those that were indexed.
        """
        file = self._open(index.path)
        members = {}
        for member in index.members(sample):
            content = os.pread(file, member.size, member.offset)
            if zlib.crc32(content) != member.crc32:
                raise DataError(
                    f"{index.path}: {index.keys[sample]}.{member.suffix} at byte {member.offset} is damaged "
                    "(its checksum differs from the index); restore the shard or re-pack it"
                )
            members[member.suffix] = content
        return members

    def _open(self, path: Path) -> int:
        if path not in self._files:
            while len(self._files) >= OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise DataError(f"{path}: {error.strerror}; restore the shard") from error
        self._files.move_to_end(path)
        return self._files[path]


def decode(card: Card, members: dict[str, bytes], key: str, position: int, shard: Path) -> Sample:
    """The picture, caption and groups of a sample as its card reads them.

    Raises:
        DataError: a member is missing or cannot be decoded; names the shard and the key.
    """
    try:
        facts = json.loads(members["json"]) if "json" in members else {}
        caption = members[card.caption].decode("utf-8").strip()
        image = decode_image(members[card.image])
        meaning = str(facts[card.text_group]) if card.text_group else caption
        label = card.classes.index(facts[card.label]) if card.label and card.classes else -1
        gallery = str(facts[card.gallery]) if card.gallery else ""
    except KeyError as error:
        raise DataError(f"{shard}: {key} has no {error}; the card asks for it") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise DataError(f"{shard}: {key} cannot be decoded: {error}") from error
    return Sample(
        key=key,
        position=position,
        image=image,
        caption=caption,
        image_group=name_to_int(members[card.image]),
        text_group=name_to_int(meaning),
        label=label,
        gallery=gallery,
    )


def decode_image(content: bytes) -> Image.Image:
    """A picture as RGB; only the formats above are tried, and its size is checked before its pixels are read."""
    image: Image.Image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))  # hidden colours stay hidden
    return image.convert("RGB")
