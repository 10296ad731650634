"""Samples as reports show them: a small picture and its caption, or a text alone."""

import base64
import io
from typing import Any

from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from mmpretrain.data.samples import Sample

THUMBNAIL = 64


def example(sample: Sample) -> dict[str, Any]:
    """A sample as a report shows it; `image` is empty for a text without picture."""
    told = {"key": sample.key, "caption": sample.caption, "gallery": sample.gallery, "image": ""}
    if not sample.image.numel():
        return told
    image = to_pil_image(sample.image)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return {**told, "image": picture}
