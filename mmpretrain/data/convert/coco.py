"""COCO captions: one JSON of images and annotations, about five captions a picture; Karpathy's splits of it too."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpretrain.data.convert.columns import texts
from mmpretrain.data.convert.picture import locate
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.faults import BadSample

KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class _Tree:
    """A JSON file about pictures in a folder."""

    path: Path
    folder: Path
    tree: dict[str, Any]
    follow_links: bool = False
    kind: str = ""
    joins: bool = True
    has_pictures: bool = True
    label: str | None = None

    def record(
        self, origin: str, name: Any, captions: list[str], facts: dict[str, Any], split: str = ""
    ) -> Record | LeftOut:
        try:
            picture = locate(self.folder, name, self.follow_links)
        except BadSample as error:
            return LeftOut(origin, error.reason, error.detail)
        return Record(origin, picture, captions, {k: v for k, v in facts.items() if k != "file_name"}, split)


@dataclass(frozen=True)
class CocoCaptions(_Tree):
    """`{"images": [{id, file_name}], "annotations": [{image_id, caption}]}`."""

    kind: str = "COCO captions"

    @property
    def said(self) -> str:
        images, annotations = len(self.tree["images"]), len(self.tree["annotations"])
        return f"{self.path.name}: COCO captions, {images:,} pictures, {annotations:,} captions"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        captions: dict[Any, list[str]] = {}
        for annotation in self.tree["annotations"]:
            captions.setdefault(annotation.get("image_id"), []).extend(texts(annotation.get("caption")))
        for image in self.tree["images"]:
            facts = {"image_id" if name == "id" else name: value for name, value in image.items()}
            origin = f"{self.path.name}: image {image.get('id')}"
            yield self.record(origin, image.get("file_name"), captions.pop(image.get("id"), []), facts)
        for image_id in captions:
            yield LeftOut(f"{self.path.name}: annotation", "unknown_image", f"no image has the id {image_id}")


@dataclass(frozen=True)
class KarpathyCaptions(_Tree):
    """`{"images": [{filepath, filename, split, sentences: [{raw}]}]}`: the splits that papers report on."""

    kind: str = "Karpathy captions"

    @property
    def said(self) -> str:
        return f"{self.path.name}: Karpathy's captions, {len(self.tree['images']):,} pictures, restval counted as train"

    def __iter__(self) -> Iterator[Record | LeftOut]:
        for number, image in enumerate(self.tree["images"]):
            name = "/".join(part for part in (image.get("filepath"), image.get("filename")) if part)
            facts = {key: image[key] for key in ("cocoid", "imgid", "sentids") if key in image}
            split = KARPATHY_SPLITS.get(str(image.get("split")), "")
            origin = f"{self.path.name}: image {number}"
            yield self.record(origin, name, texts(image.get("sentences")), facts, split)
