"""Masks: the class of each pixel, read with its picture and turned with it."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.data.card import IGNORED, Card
from mmpretrain.data.faults import BadSample
from mmpretrain.data.loader import evaluation_loader, training_loader
from mmpretrain.data.samples import Reading, decode
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.data.transforms import Augmentation, Centre, OrBlank
from tests.data.test_loader import open_toys
from tests.masks import SIDE, pack_boxes, png, scene

TREE = {
    "title": "x",
    "image": "png",
    "mask": "mask.png",
    "mask_classes": ["ground", "thing"],
    "splits": {"train": {"shards": ["x.tar"]}},
}
CARD = build(Card, TREE)


def members(mask: bytes) -> dict[str, bytes]:
    return {"png": png(scene(0)[0]), "mask.png": mask, "txt": b"a box"}


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    return pack_boxes(tmp_path)


def red(images_BCHW: torch.Tensor) -> torch.Tensor:
    return images_BCHW[:, 0] > 127


def test_a_mask_is_read_beside_its_picture_and_is_no_picture_itself():
    mask = scene(0)[1]
    sample = decode(CARD, members(png(mask)), "key", 0, Reading())
    assert sample.image.shape == (3, SIDE, SIDE)
    assert sample.mask is not None
    assert np.array_equal(sample.mask.numpy(), mask)
    assert decode(CARD, members(png(mask)), "key", 0, Reading(pictures=False)).mask is None


def test_a_palette_and_one_bit_are_values_too_and_255_counts_nowhere():
    mask = scene(0)[1]
    coloured = Image.fromarray(mask, mode="P")
    coloured.putpalette([10, 20, 30, 200, 100, 0])
    buffer = io.BytesIO()
    coloured.save(buffer, "PNG")
    edge = mask.copy()
    edge[0, 0] = IGNORED
    for content, expected in ((buffer.getvalue(), mask), (png(mask.astype(bool)), mask), (png(edge), edge)):
        found = decode(CARD, members(content), "key", 0, Reading()).mask
        assert found is not None
        assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (png(scene(0)[1] * 2), "unknown_class: a mask has the value 2; the card lists 2 mask_classes"),
        (png(scene(0)[1][:20]), "size_of_mask: 24 x 20 pixels, its picture has 24 x 24"),
        (png(scene(0)[0]), "unknown_mask: PNG RGB"),
        (png(scene(0)[1].astype(np.uint16)), "unknown_mask: PNG I"),
        (png(scene(0)[1])[:60], "damaged_mask"),
        (b"", "empty_image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(mask: bytes, reason: str):
    with pytest.raises(BadSample, match=reason):
        decode(CARD, members(mask), "key", 0, Reading())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask_classes": []}, "mask: needs mask_classes"),
        ({"mask": None}, "mask: needs mask_classes"),
        ({"mask": "png"}, "'png' is no name of a PNG beside a picture; call it mask.png"),
        ({"image": None}, "is no name of a PNG beside a picture"),
        ({"mask_classes": [str(number) for number in range(256)]}, "a PNG of 8 bits tells 255 apart, these are 256"),
        ({"question_type": "kind"}, "question_type: is of questions"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict, reason: str):
    with pytest.raises(ConfigError, match=reason):
        build(Card, TREE | change)


def test_crop_and_mirror_of_training_are_the_same_for_picture_and_mask(boxes: Path):
    augmentation = Augmentation(crop=(0.3, 1.0), flip=0.5, jitter=0.3, grayscale=0.0)
    data = TrainingData(Data(name=str(boxes), batch=12, workers=0, augmentation=augmentation))
    tokenizer = open_toys(boxes)[1]
    batches = [next(training_loader(data, tokenizer, 20, World(), 1, start))[0] for start in range(4)]
    for batch in batches:
        assert batch.masks_BHW is not None
        assert batch.masks_BHW.dtype == torch.uint8
        assert batch.masks_BHW.shape == (12, 20, 20)
        # the picture is interpolated, its mask takes the nearest pixel: they may differ along the edge
        assert ((batch.masks_BHW == 1) == (batch.images_BCHW[:, 0] > 60)).float().mean() > 0.93


def test_pictures_are_the_same_with_and_without_their_masks():
    picture, mask = (torch.from_numpy(array) for array in scene(3))
    image_CHW = picture.permute(2, 0, 1)
    augment = Augmentation(crop=(0.3, 1.0), flip=0.5, jitter=0.3, grayscale=0.5).build(20, 0)
    for transform in (augment, Centre(20), OrBlank(augment, 20)):
        for position in range(8):
            alone, (beside, _) = transform(image_CHW, position), transform.with_mask(image_CHW, mask, position)
            assert torch.equal(alone, beside)


def test_a_row_without_picture_has_a_mask_that_counts_nowhere():
    nothing = torch.empty(3, 0, 0, dtype=torch.uint8)
    image, mask = OrBlank(Centre(8), 8).with_mask(nothing, nothing[0], 0)
    assert image.shape == (3, 8, 8)
    assert mask.tolist() == [[IGNORED] * 8] * 8


def test_evaluation_and_streams_deliver_masks_too(boxes: Path):
    dataset, tokenizer = open_toys(boxes)
    batch = next(evaluation_loader(dataset, tokenizer, SIDE, World(), 12))
    assert batch.masks_BHW is not None
    assert torch.equal(batch.masks_BHW == 1, red(batch.images_BCHW))
    settings = Data(name=str(boxes), batch=4, workers=0, order="streaming")
    streamed = next(training_loader(TrainingData(settings), tokenizer, SIDE, World(), 1, 0))[0]
    assert streamed.masks_BHW is not None
    assert int((streamed.masks_BHW == 1).sum()) > 0


def test_without_masks_a_batch_has_none(shapes: Path):
    dataset, tokenizer = open_toys(shapes)
    assert next(evaluation_loader(dataset, tokenizer, 16, World(), 4)).masks_BHW is None
