"""Samples as reports show them: a small picture and its caption."""

import base64
import io
from typing import Any

from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from mmpretrain.data.samples import Sample

THUMBNAIL = 64


def example(sample: Sample) -> dict[str, Any]:
    """A sample as a report shows it."""
    image = to_pil_image(sample.image)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return {"key": sample.key, "caption": sample.caption, "gallery": sample.gallery, "image": picture}
