"""The class of each pixel: U-Net's decoder, its losses, and what it learns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.conformance.toy import CLASSES, ROWS, SIZE, select, toy_batch, toy_module
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.card import IGNORED
from mmpretrain.heads.base import predict
from mmpretrain.heads.segmentation import AT_A_TIME, Segmentation, dice_losses
from mmpretrain.heads.unet import UNet, rising
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.towers.image import TimmImage
from mmpretrain.towers.maps import Scale
from mmpretrain.towers.model import Towers

TOWERS: dict[str, Any] = {
    "a pyramid": TimmImage(name="test_resnet", size=64),
    "a pyramid of odd sides": TimmImage(name="test_resnet", size=100, norm="group"),
    "a transformer": TimmImage(name="test_vit", size=48),
    "windows": TimmImage(name="swin_tiny_patch4_window7_224", size=64),
}


def module_of(**more: Any) -> TrainingModule:
    return toy_module([Segmentation(width=16, **more)])


def scores_of(module: TrainingModule) -> Tensor:
    batch = toy_batch()
    encoded = module.model(batch, module.needs)
    return module.objectives[0]._scores(module.model, batch, encoded, slice(None))


@pytest.mark.parametrize("name", TOWERS)
def test_every_pixel_gets_scores_whatever_the_tower(name: str):
    tower = TOWERS[name].build().eval()
    tower.hand_out_maps()
    decoder = UNet(tower.scales, tower.width, tower.size, 32, 5)
    images = torch.randint(0, 256, (3, 3, tower.size, tower.size), dtype=torch.uint8)
    _, pooled_BD, *maps = tower(images, maps=True)
    scores_BCHW = decoder(maps, pooled_BD, tower.pixels(images))
    assert scores_BCHW.shape == (3, 5, tower.size, tower.size)
    _, pooled_1D, *maps = tower(images[:1], maps=True)
    assert torch.allclose(decoder(maps, pooled_1D, tower.pixels(images[:1])), scores_BCHW[:1], atol=1e-4)


def test_scales_rise_to_the_picture_and_equal_ones_are_taken_for_doubles():
    assert rising([2, 4, 8, 16, 32], 64) == [2, 4, 8, 16, 32]
    assert rising([4, 4, 4, 4], 64) == [4, 8, 16, 32]
    assert rising([8, 8, 8, 8], 32) == [8, 16, 32, 32]
    assert rising([4, 7, 13, 25, 50], 100) == [4, 7, 13, 25, 50]


def test_channels_halve_with_each_finer_scale():
    decoder = UNet([Scale(8, 16), Scale(8, 8), Scale(8, 4)], 8, 32, 64, 2)
    assert [step.join[1][0].out_channels for step in decoder.steps] == [32, 16, 16]


def test_the_loss_is_the_mean_cross_entropy_of_the_pixels_that_count():
    module, batch = module_of(), toy_batch()
    scores_BCHW, truth_BHW = scores_of(module), batch.masks_BHW.long()
    shares = module("live", batch, module.count(batch))
    assert torch.allclose(shares.total, F.cross_entropy(scores_BCHW, truth_BHW, ignore_index=IGNORED))
    counts = truth_BHW != IGNORED
    assert 0 < int(counts.sum()) < counts.numel()
    right = (scores_BCHW.argmax(dim=1) == truth_BHW)[counts].double().mean()
    assert shares.metrics["segmentation/accuracy"].item() == pytest.approx(right.item())


def test_pixels_that_count_nowhere_and_rows_of_other_sources_change_nothing():
    module, batch = toy_module([Segmentation(width=16, dice=1.0, sources=["a"])], sources=["a", "b"]), toy_batch(16, 2)
    assert batch.masks_BHW is not None
    noise = torch.randint(0, len(CLASSES), batch.masks_BHW.shape, dtype=torch.uint8)
    theirs = (batch.source_B == 1)[:, None, None]
    other = replace(batch, masks_BHW=torch.where(theirs, noise, batch.masks_BHW))
    first, second = (module("live", each, module.count(each)).total for each in (batch, other))
    assert torch.equal(first, second)
    assert module.count(batch).item() == (batch.masks_BHW[~theirs[:, 0, 0]] != IGNORED).sum()


def test_dice_is_what_a_plain_sum_over_classes_gives():
    generator = torch.Generator().manual_seed(0)
    scores_BCHW = torch.randn(3, 3, 6, 6, generator=generator, dtype=torch.float64)
    truth_BHW = torch.randint(0, 2, (3, 6, 6), generator=generator)  # the third class is nowhere
    truth_BHW[0, :2], truth_BHW[2] = IGNORED, IGNORED
    for shares_CHW, truth_HW, found in zip(
        scores_BCHW.softmax(dim=1), truth_BHW, dice_losses(scores_BCHW, truth_BHW), strict=True
    ):
        counts, parts = truth_HW != IGNORED, []
        for place in truth_HW[counts].unique().tolist():
            mine = (truth_HW == place)[counts].double()
            share = shares_CHW[place][counts]
            parts.append(1 - 2 * (mine * share).sum() / (mine.sum() + share.sum()))
        expected = torch.stack(parts).mean() if parts else torch.zeros(())
        assert found.item() == pytest.approx(float(expected))


def test_a_perfect_answer_loses_nothing_in_dice_and_the_opposite_everything():
    truth_BHW = torch.tensor([[[0, 1], [1, 0]]])
    right_BCHW = 50 * F.one_hot(truth_BHW, 2).permute(0, 3, 1, 2).double()
    assert dice_losses(right_BCHW, truth_BHW).item() == pytest.approx(0)
    assert dice_losses(right_BCHW.flip(1), truth_BHW).item() == pytest.approx(1)


def test_masks_learned_by_heart_are_found_again():
    module = module_of(dice=0.5).float()
    batch = select(toy_batch(), slice(0, 2))
    blocks = torch.arange(2 * 16).view(2, 4, 4) % len(CLASSES)
    masks_BHW = blocks.repeat_interleave(SIZE // 4, 1).repeat_interleave(SIZE // 4, 2).to(torch.uint8)
    batch = replace(batch, masks_BHW=masks_BHW)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        module("live", batch, module.count(batch)).total.backward()
        optimizer.step()
    (found_BHW,) = module.eval()("ask", predict, batch, "segmentation")
    assert found_BHW.dtype == torch.uint8
    assert (found_BHW == masks_BHW).float().mean() > 0.97


def test_masks_of_many_pictures_are_those_of_each():
    module, batch = module_of().eval(), toy_batch(ROWS)
    assert ROWS > AT_A_TIME
    (found_BHW,) = module("ask", predict, batch, "segmentation")
    assert torch.equal(found_BHW, scores_of(module).argmax(dim=1).to(torch.uint8))


def test_a_card_without_classes_of_pixels_is_refused():
    settings = Segmentation()
    towers = Towers(image=TimmImage(name="test_resnet", size=32))
    model = towers.build(8, 8, settings.needs)
    with pytest.raises(ConfigError, match="segmentation learns from mask_classes, which the card of its data does not"):
        settings.build(Surroundings(model=model))


def test_the_tower_runs_once_for_pixels_and_whole_pictures():
    from mmpretrain.heads.classification import Classification

    module, calls = toy_module([Segmentation(width=16), Classification()]), []
    module.model.image.register_forward_hook(lambda *_: calls.append(1))
    batch = toy_batch()
    module("live", batch, module.count(batch)).total.backward()
    assert len(calls) == 1


def test_rows_without_pictures_cost_nothing_and_learn_nothing():
    module, batch = module_of(), toy_batch(8)
    pictured_B = torch.arange(8) < 4
    blank = torch.where(pictured_B[:, None, None, None], batch.images_BCHW, 0)
    assert batch.masks_BHW is not None
    masks_BHW = torch.where(pictured_B[:, None, None], batch.masks_BHW, IGNORED)
    mixed = replace(batch, images_BCHW=blank, masks_BHW=masks_BHW, pictured_B=pictured_B)
    alone = select(batch, slice(0, 4))
    whole, part = (module("live", each, module.count(each)).total for each in (mixed, alone))
    assert torch.allclose(whole, part)
    nothing = replace(mixed, pictured_B=pictured_B & False, masks_BHW=masks_BHW | IGNORED)
    module("live", nothing, module.count(nothing)).total.backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())
