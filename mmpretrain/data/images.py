"""From the bytes of a picture to upright RGB pixels. Only JPEG, PNG and WebP are ever decoded.

What a file is says its first bytes, not its name. Its size is read before its pixels. JPEG in colour or grey is
decoded by simplejpeg, whose pixels equal Pillow's at a fraction of the time; everything else by Pillow, with the
conversions that a plain `convert("RGB")` gets wrong.
"""

import io
import warnings
from typing import Annotated

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps, PngImagePlugin
from pydantic import Field
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from mmpretrain.core.settings import settings
from mmpretrain.data.faults import BadSample

# Pillow unpacks up to 64 MB of texts that nobody reads, for a PNG of 50 KB; it has no argument for this
PngImagePlugin.MAX_TEXT_MEMORY = 4_194_304
ORIENTATION = 0x0112
"""EXIF's tag."""
SAYS_MORE = {"exif", "xmp"}
"""What Pillow calls the parts of a JPEG that may say how it is turned."""
MAGIC = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "WEBP": b"RIFF"}


@settings
class ImageLimits:
    """What a picture may be, decided from its header."""

    max_bytes: Annotated[int, Field(gt=0)] = 64_000_000
    """Largest file."""
    max_pixels: Annotated[int, Field(gt=0)] = 64_000_000
    """Largest width x height; a small file can claim a huge picture."""
    max_aspect: Annotated[float, Field(ge=1)] = 20.0
    """Largest ratio of the longer to the shorter side."""
    min_side: Annotated[int, Field(gt=0)] = 1
    """Shortest side in pixels."""


def decode_image(content: bytes, limits: ImageLimits | None = None, least_side: int | None = None) -> Tensor:
    """A picture as uint8 RGB, 3 x height x width, turned upright by its EXIF orientation, the first of its frames.

    Args:
        least_side: a JPEG may come 2, 4 or 8 times smaller while its shorter side stays at least this long: the
            decoder leaves out what the crop would average away. None: the full size.

    Raises:
        BadSample: empty, another format, beyond the limits, cut off or damaged.
    """
    image = open_image(content, limits or ImageLimits())
    try:
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            return _turned(_decode_jpeg(content, image, least_side), _orientation(image))
        if image.format == "PNG":
            _scale_transparency(image, depth=content[24])
        pixels = np.array(to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # whatever a decoder says of hostile bytes
        raise BadSample("damaged_image", _first_line(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def open_image(content: bytes, limits: ImageLimits) -> Image.Image:
    """The picture with its header read and its pixels not yet; within the limits.

    Raises:
        BadSample: empty, another format, beyond the limits, or with a damaged header.
    """
    if not content:
        raise BadSample("empty_image", "no bytes")
    if len(content) > limits.max_bytes:
        raise BadSample("large_image", f"{len(content):,} bytes are more than {limits.max_bytes:,}")
    kind = sniff(content)
    if kind is None:
        raise BadSample("unknown_image", f"starts with {content[:8].hex(' ')}, which is no JPEG, PNG or WebP")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limits below are tighter
            image = Image.open(io.BytesIO(content), formats=(kind,))
    except Image.DecompressionBombError as error:
        raise BadSample("large_image", _first_line(error)) from error
    except Exception as error:  # whatever a parser says of hostile bytes
        raise BadSample("damaged_image", f"{kind} with a damaged header: {_first_line(error)}") from error
    _refuse_beyond(image.width, image.height, limits)
    return image


def sniff(content: bytes) -> str | None:
    """JPEG, PNG or WEBP by the first bytes, None for anything else."""
    kind = next((kind for kind, magic in MAGIC.items() if content.startswith(magic)), None)
    return None if kind == "WEBP" and content[8:12] != b"WEBP" else kind


def _refuse_beyond(width: int, height: int, limits: ImageLimits) -> None:
    size = f"{width} x {height}"
    if width * height > limits.max_pixels:
        raise BadSample("large_image", f"{size} pixels are more than {limits.max_pixels:,}")
    if min(width, height) < limits.min_side:
        raise BadSample("small_image", f"{size} has a side under {limits.min_side}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise BadSample("narrow_image", f"{size} is more than {limits.max_aspect:g} times longer than wide")


def _decode_jpeg(content: bytes, image: Image.Image, least_side: int | None) -> Tensor:
    """Simplejpeg's pixels are those of Pillow, in two thirds of the time; it cannot turn them upright."""
    shrink = _shrink(image, least_side)
    size = {"min_height": image.height // shrink, "min_width": image.width // shrink} if shrink > 1 else {}
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGB", **size)
    except ValueError:
        # strict: it gives up at bytes too many between two markers, where torchvision gives up only at missing ones
        raw = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return decode_jpeg(raw, mode=ImageReadMode.RGB)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _orientation(image: Image.Image) -> int:
    """By EXIF or XMP; Pillow takes long to find out that there is neither."""
    turned: int = image.getexif().get(ORIENTATION, 1) if not SAYS_MORE.isdisjoint(image.info) else 1
    return turned


def _shrink(image: Image.Image, least_side: int | None) -> int:
    """How many times smaller libjpeg may decode: 8, 4, 2 or 1."""
    short = min(image.size)
    return next((factor for factor in (8, 4, 2) if least_side and short // factor >= least_side), 1)


def _turned(image: Tensor, orientation: int) -> Tensor:
    """Upright, by the EXIF orientation: 2 to 4 mirror or turn over, 5 to 8 also change height and width."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 2)
    flips = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation)
    return image.flip(flips) if flips else image


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB with transparency over white and 16-bit grey scaled to 8; Pillow alone shows what transparency hides,
    and cuts 16-bit values at 255.
    """
    if image.mode.startswith("I"):
        image = _grey_of_8_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _grey_of_8_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    grey = Image.fromarray(np.clip(np.rint(levels.astype(np.float64) / 257), 0, 255).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
    return grey


def _scale_transparency(image: Image.Image, depth: int) -> None:
    """Make the one transparent colour of a PNG fit the pixels: Pillow brings 2, 4 and 16 bits a channel to 8 and leaves
    that colour as the file has it. Of 16-bit colours those that share its upper bytes go with it.
    """
    clear = image.info.get("transparency")
    if isinstance(clear, int) and depth in (2, 4) and image.mode == "L":
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    elif isinstance(clear, tuple) and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
