"""A look at every picture before it is packed: what cannot be decoded is not stored."""

import functools
import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from mmpretrain.data.convert.record import Picture
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import ImageLimits, decode_image, open_image, sniff, to_rgb

SUFFIX_OF = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Examined:
    """A picture that can be used."""

    digest: bytes
    """SHA-256 of its file."""
    suffix: str
    """jpg, png or webp, as its first bytes say."""
    width: int
    """Upright, in pixels, before any resizing."""
    height: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Resize:
    """Make pictures smaller: re-encoded as JPEG; smaller ones keep their bytes."""

    side: int
    """Pixels."""
    which: str = "longer"
    """Whether the longer or the shorter side gets this length."""


def examine(picture: Picture, limits: ImageLimits) -> Examined | BadSample:
    """Read and decode a picture once."""
    try:
        content = picture.read(limits.max_bytes)
        _, height, width = decode_image(content, limits).shape
        suffix = SUFFIX_OF[str(sniff(content))]
        return Examined(hashlib.sha256(content).digest(), suffix, width, height, len(content))
    except BadSample as error:
        return error


def examiner(limits: ImageLimits) -> "functools.partial[Examined | BadSample]":
    """`examine` under these limits, ready for other processes."""
    return functools.partial(examine, limits=limits)


def resized(content: bytes, resize: Resize) -> bytes:
    """A picture with its longer or shorter side at most as asked, upright, over white, as JPEG.

    One that is small enough comes back as it is.

    Raises:
        BadSample: it cannot be decoded.
    """
    image = open_image(content, ImageLimits())
    chosen = (max if resize.which == "longer" else min)(image.size)
    if chosen <= resize.side:
        return content
    upright = to_rgb(ImageOps.exif_transpose(image))
    scale = resize.side / chosen
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    buffer = io.BytesIO()
    upright.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
