"""Maps of several scales, of every library's towers, by the pass that gives tokens and pooled vectors."""

from typing import Any

import pytest
import torch
from torch import nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers.image import ImageTower, TimmImage, TorchvisionImage
from mmpretrain.towers.maps import chosen_maps
from mmpretrain.towers.timm_trunk import TIMM
from tests.towers.test_image_adapt import WITH_BLOCKS, named
from tests.towers.test_image_towers import IDS, KINDS, TABLE, pictures, tower_of

WITH = [(row, name) for row, name in zip(TABLE, IDS, strict=True) if "pit_" not in name]


def maps_of(tower: ImageTower, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tower(images, maps=True)


@pytest.mark.parametrize("row", [row for row, _ in WITH], ids=[name for _, name in WITH])
def test_a_tower_hands_out_maps_beside_the_same_tokens(row: tuple):
    kind, name, size, _, side, prefix, _, token_width = row
    tower = tower_of(kind, name, size).eval()
    tower.hand_out_maps()
    images = pictures(2, size)
    tokens_BND, pooled_BD = tower(images)
    again_BND, pooled_again_BD, *maps = maps_of(tower, images)
    assert torch.allclose(tokens_BND, again_BND, atol=1e-5)
    assert torch.allclose(pooled_BD, pooled_again_BD, atol=1e-5)
    assert [tuple(each.shape) for each in maps] == [(2, channels, s, s) for channels, s in tower.scales]
    sides = [scale.side for scale in tower.scales]
    assert sides == sorted(sides, reverse=True)
    assert len(sides) == len(set(sides)) or len(set(sides)) == 1, "a pyramid has one map a scale"
    assert len(sides) > 1
    assert tower.scales[-1] == (token_width, side)
    assert torch.equal(maps[-1].flatten(2).transpose(1, 2), again_BND[:, prefix:])


class Flat(nn.Module):
    """A trunk of timm's manner that keeps its stages to itself."""

    num_features, num_prefix_tokens = 8, 0

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)

    def forward_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        return self.patches(pixels_BCHW)

    def forward_head(self, map_BDHW: torch.Tensor, pre_logits: bool) -> torch.Tensor:
        return map_BDHW.mean(dim=(2, 3))


def test_a_tower_that_has_no_maps_is_refused_by_name():
    pools = TimmImage(name="pit_ti_224").build()
    keeps = ImageTower(Flat(), TimmImage(name="flat", size=32), TIMM)
    for tower, said in ((pools, "PoolingVisionTransformer pools its tokens itself"), (keeps, "Flat hands out no maps")):
        with pytest.raises(ConfigError, match=rf"towers\.image\.name: {said}.*; use "):
            tower.hand_out_maps()


@pytest.mark.parametrize(("kind", "given"), **named(WITH_BLOCKS))
def test_maps_lie_in_reading_order(kind: Any, given: dict):
    """A bright corner changes most the corner of the finest map."""
    torch.manual_seed(0)
    tower = kind(**given).build().eval()
    tower.hand_out_maps()
    for row, column in ((0, -1), (-1, 0)):
        images = torch.full((2, 3, tower.size, tower.size), 100, dtype=torch.uint8)
        edge = tower.size // 8
        rows, columns = (slice(0, edge) if place == 0 else slice(-edge, None) for place in (row, column))
        images[1, :, rows, columns] = 255
        with torch.no_grad():
            finest = maps_of(tower, images)[2]
        change_HW = (finest[1] - finest[0]).norm(dim=0)
        halves = change_HW.unflatten(0, (2, -1)).unflatten(2, (2, -1)).amax(dim=(1, 3))
        assert halves.argmax() == (1 if row == 0 else 2)


def gradients(tower: ImageTower) -> dict[str, torch.Tensor]:
    tower.train()
    torch.manual_seed(3)
    found = maps_of(tower, pictures(2, tower.size))
    sum(each.square().mean() for each in found[1:]).backward()  # type: ignore[union-attr]
    return {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("kind", "given"), **named([case for case in WITH_BLOCKS if case[1]["name"] != "RN50"]))
def test_checkpointing_gives_the_same_gradient_through_maps(kind: Any, given: dict):
    plain, again = (kind(**given, norm="group", checkpointing=value).build() for value in (False, True))
    again.load_state_dict(plain.state_dict())
    for tower in (plain, again):
        tower.hand_out_maps()
    expected, found = gradients(plain), gradients(again)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(expected[name], found[name], rtol=1e-4, atol=1e-6) for name in expected)


@pytest.mark.parametrize(("kind", "given"), **named(WITH_BLOCKS))
def test_gradients_through_maps_reach_what_is_not_frozen_and_all_of_it(kind: Any, given: dict):
    for blocks in (0, 2, "all"):
        tower = kind(**given, frozen_blocks=blocks).build()
        tower.hand_out_maps()
        trainable = {name for name, p in tower.named_parameters() if p.requires_grad}
        if blocks != "all":
            assert gradients(tower).keys() == trainable


def test_frozen_statistics_stay_when_maps_are_handed_out():
    tower = TorchvisionImage(name="resnet18", size=64).build()
    before = [norm.running_mean.clone() for norm in tower.batch_norms()]
    tower.train()
    tower.hand_out_maps()
    maps_of(tower, pictures(4, 64))
    assert tower.training
    assert all(torch.equal(mean, norm.running_mean) for mean, norm in zip(before, tower.batch_norms(), strict=True))


@pytest.mark.parametrize(
    ("sides", "grid", "chosen"),
    [
        ([32, 16, 8, 4, 2], 2, [0, 1, 2, 3]),
        ([32, 32, 16, 16, 8, 8], 8, [1, 3]),
        ([4] * 12, 4, [2, 5, 8]),
        ([4] * 6, 4, [1, 2, 3]),
        ([4, 4], 4, [0]),
        ([4], 4, []),
        ([0, 7], 7, []),
    ],
)
def test_of_a_pyramid_each_finer_scale_is_chosen_and_else_blocks_of_several_depths(
    sides: list[int], grid: int, chosen: list[int]
):
    assert chosen_maps(sides, grid) == chosen


def test_every_kind_of_tower_is_in_the_table():
    assert {kind for (kind, *_), _ in WITH} == KINDS.keys()
