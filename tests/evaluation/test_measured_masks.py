"""Masks against masks: counts, figures and the threshold that learns nothing."""

import base64
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import jaccard_score

from mmpretrain.core.batch import Batch
from mmpretrain.data.card import IGNORED
from mmpretrain.evaluation.drawn_masks import SIDE, colour_of, drawn_mask
from mmpretrain.evaluation.features import Embedder, HeadFacts, SplitSource
from mmpretrain.evaluation.interval import bootstrap_means
from mmpretrain.evaluation.otsu import otsu_mask, otsu_masks, otsu_threshold
from mmpretrain.evaluation.overlaps import (
    class_ious,
    constant,
    foreground_iou,
    mean_iou,
    overlaps,
    pixel_accuracy,
    resampled_sums,
)
from mmpretrain.evaluation.segmentation import SHOWN, SegmentationEvaluator, of_pictures, of_sums


def masks(count: int, side: int, classes: int, seed: int, ignored: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(0, classes, (count, side, side), generator=generator)
    nowhere = torch.rand(found.shape, generator=generator) < ignored
    return torch.where(nowhere, IGNORED, found).to(torch.uint8)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(2, 5), st.integers(0, 99), st.sampled_from([0.0, 0.3]))
@settings(max_examples=40, deadline=None)
def test_figures_agree_with_scikit_learn(count: int, side: int, classes: int, seed: int, ignored: float):
    found, truth = masks(count, side, classes, seed), masks(count, side, classes, seed + 1, ignored)
    counted = overlaps(found, truth, classes).numpy()
    sums = counted.sum(axis=0)[None]
    where = truth != IGNORED
    if not where.any():
        return
    pair = truth[where].numpy(), found[where].numpy()
    there = sorted(set(pair[0].tolist()) | set(pair[1].tolist()))
    by_class = jaccard_score(*pair, average=None, labels=there, zero_division=0)
    assert class_ious(sums)[0][there] == pytest.approx(by_class)
    assert mean_iou(sums)[0] == pytest.approx(by_class.mean())
    assert pixel_accuracy(sums)[0] == pytest.approx((pair[0] == pair[1]).mean())
    for row in range(count):
        alone = overlaps(found[row : row + 1], truth[row : row + 1], classes).numpy()
        assert np.array_equal(alone[0], counted[row]), "a picture's counts are its own"


def test_the_first_class_is_left_out_of_the_foreground_and_an_empty_picture_found_empty_is_right():
    truth = torch.tensor([[[0, 0], [1, 1]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]], dtype=torch.uint8)
    found = torch.tensor([[[0, 0], [0, 1]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=torch.uint8)
    assert foreground_iou(overlaps(found, truth, 2).numpy()).tolist() == [0.5, 1.0, 0.0]


def test_a_class_that_is_nowhere_is_not_part_of_the_mean():
    truth = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    assert mean_iou(overlaps(truth, truth, 9).numpy())[0] == 1.0
    nothing = torch.full((1, 2, 2), IGNORED, dtype=torch.uint8)
    assert mean_iou(overlaps(torch.zeros_like(nothing), nothing, 2).numpy())[0] == 0.0


def test_chance_is_the_best_constant_class():
    truth = torch.zeros(4, 10, 10, dtype=torch.uint8)
    truth[:, :3] = 1
    counted = overlaps(masks(4, 10, 2, 0), truth, 2).numpy()
    assert constant(counted, 0)[0].tolist() == overlaps(torch.zeros_like(truth), truth, 2)[0].tolist()
    assert of_sums(mean_iou, counted).chance == pytest.approx(0.35), "70 % of ground, and the thing is never found"
    assert of_sums(pixel_accuracy, counted).chance == pytest.approx(0.7)
    assert of_pictures(foreground_iou, counted).chance == pytest.approx(0.3), "the thing everywhere"


def test_intervals_resample_pictures_with_the_draws_of_all_evaluators():
    counted = overlaps(masks(30, 6, 2, 0), masks(30, 6, 2, 1), 2).numpy()
    first = counted[:, 0, 0].astype(float)
    assert resampled_sums(counted)[:, 0, 0] / 30 == pytest.approx(bootstrap_means(first))
    for figure in (of_sums(mean_iou, counted), of_pictures(foreground_iou, counted)):
        assert figure.low < figure.value < figure.high
        assert figure.n == 30


# -- Otsu's threshold -------------------------------------------------------------------------------------


@given(st.integers(0, 999), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_no_threshold_parts_the_grey_values_better(seed: int, levels: int):
    random = np.random.default_rng(seed)
    grey = random.choice(random.integers(0, 256, levels), size=(9, 9)).astype(np.uint8)

    def between(threshold: int) -> float:
        dark, bright = grey[grey <= threshold].astype(float), grey[grey > threshold].astype(float)
        if not len(dark) or not len(bright):
            return 0.0
        return len(dark) * len(bright) * (dark.mean() - bright.mean()) ** 2

    assert between(otsu_threshold(grey)) == pytest.approx(max(between(threshold) for threshold in range(256)))


def test_a_threshold_between_two_heaps_lies_in_their_middle():
    assert otsu_threshold(np.array([[10, 10, 200, 200]], dtype=np.uint8)) == 105


@pytest.mark.parametrize(("ground", "thing"), [(20, 230), (230, 20)])
def test_the_border_says_which_side_is_the_background(ground: int, thing: int):
    grey = np.full((12, 12), ground, dtype=np.uint8)
    grey[4:8, 5:9] = thing
    assert np.array_equal(otsu_mask(grey), (grey == thing).astype(np.uint8))


def test_a_picture_of_one_grey_is_all_background():
    assert not otsu_mask(np.full((5, 5), 77, dtype=np.uint8)).any()


def test_grey_is_that_of_pillow():
    image = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grey = np.asarray(Image.fromarray(image[0].permute(1, 2, 0).numpy()).convert("L"))
    ours = otsu_masks(image)[0].numpy()
    assert (ours == otsu_mask(grey)).mean() > 0.99


# -- the evaluator ----------------------------------------------------------------------------------------

ROWS, SIDES = 20, 16


def batch_of(rows: list[int]) -> Batch:
    """Dark boxes on bright ground; the last column of pixels counts nowhere."""
    truth = torch.zeros(len(rows), SIDES, SIDES, dtype=torch.uint8)
    for place, row in enumerate(rows):
        truth[place, 4 : 8 + row % 5, 3:9] = 1
    images = (220 - 180 * truth)[:, None].expand(-1, 3, -1, -1).clone()
    truth[:, :, -1] = IGNORED
    numbers = torch.tensor(rows)
    return Batch(
        images_BCHW=images,
        masks_BHW=truth,
        tokens_BL=numbers[:, None],
        mask_BL=numbers[:, None] > -1,
        positions_B=numbers,
        image_group_B=numbers,
        text_group_B=numbers,
        labels_B=numbers * 0 - 1,
        keys=tuple(f"k{row}" for row in rows),
        galleries=("",) * len(rows),
        label_sets=((),) * len(rows),
        answers=((),) * len(rows),
        question_types=("",) * len(rows),
    )


def model_of(classes: list[str], say: Any) -> Embedder:
    every = list(range(ROWS))
    source = SplitSource(
        dataset="boxes",
        length=ROWS,
        batches=lambda chosen: iter([batch_of(every[start : start + 6]) for start in range(0, ROWS, 6)]),
        small_batches=lambda: iter(()),
        some=lambda rows: batch_of(list(rows)),
        told=lambda: iter(()),
        classes=[],
        descriptions=[],
        templates=[],
    )
    nothing: Any = None
    heads = {"parts": HeadFacts(kind="segmentation", classes=classes, probabilities=nothing)}
    asked: Any = SimpleNamespace(predict=say)
    return Embedder(asked, heads, nothing, {"val": source}, [], torch.device("cpu"))


def one_row_too_many(batch: Batch, head: str) -> tuple[torch.Tensor, ...]:
    """Boxes that reach one row lower than the true ones, on every second picture."""
    assert head == "parts"
    found = (batch.masks_BHW == 1).to(torch.uint8)
    lower = torch.maximum(found, found.roll(1, dims=1))
    return (torch.where((batch.positions_B % 2 == 0)[:, None, None], lower, found),)


def test_a_head_is_measured_beside_the_threshold_and_shown_from_best_to_worst():
    found = SegmentationEvaluator("val", "parts").run(model_of(["ground", "thing"], one_row_too_many))
    assert list(found.metrics) == ["mIoU", "foreground_IoU", "pixel_accuracy", "otsu_mIoU"]
    heights = [4 + row % 5 for row in range(ROWS)]
    expected = [height / (height + 1) if row % 2 == 0 else 1.0 for row, height in enumerate(heights)]
    assert found.samples["foreground_IoU"] == pytest.approx(expected)
    assert found.samples["key"] == [f"k{row}" for row in range(ROWS)]
    things, more = 6 * sum(heights), 6 * ROWS // 2
    assert found.facts["IoU"]["thing"] == pytest.approx(things / (things + more), abs=1e-4)
    assert found.metrics["otsu_mIoU"].value == 1.0, "dark boxes on bright ground"
    assert found.facts["over_otsu"]["high"] < 0
    shown = found.shown["pictures"]
    assert len(shown) == SHOWN
    overlap = [picture["foreground_IoU"] for picture in shown]
    assert overlap == sorted(overlap, reverse=True)
    assert (overlap[0], overlap[-1]) == pytest.approx((max(expected), min(expected)), abs=1e-4)


def test_of_three_classes_there_is_no_threshold():
    found = SegmentationEvaluator("val", "parts").run(model_of(["ground", "thing", "sky"], one_row_too_many))
    assert "otsu_mIoU" not in found.metrics
    assert "over_otsu" not in found.facts
    assert found.facts["IoU"]["sky"] is None


def test_a_drawn_mask_keeps_its_classes_as_values_and_fits_the_page():
    mask = masks(1, 3 * SIDE, 3, 0, ignored=0.2)[0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    image = Image.open(io.BytesIO(base64.b64decode(drawn_mask(mask))))
    assert image.size == (SIDE, SIDE)
    assert set(np.unique(np.asarray(image))) == {0, 1, 2, IGNORED}
    assert image.convert("RGB").getcolors() is not None
    colours = {colour for _, colour in image.convert("RGB").getcolors() or []}
    assert colours == {colour_of(place) for place in (0, 1, 2, IGNORED)}
    assert colour_of(8) == colour_of(1), "the background's colour is its own"
