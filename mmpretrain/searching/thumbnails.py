"""Small pictures."""

import io

from PIL import Image


def png(image: Image.Image, side: int) -> bytes:
    """At most `side` pixels wide and high."""
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
