"""Patches as one product: the numbers of the convolution, its parameters, and where it stays a convolution."""

import pytest
import torch
from torch import nn

from mmpretrain.towers.patches import PatchConv, as_products
from mmpretrain.towers.timm_image import TimmImage


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("side", [(32, 48), (35, 50)])
def test_a_product_gives_the_values_and_gradients_of_the_convolution(
    side: tuple[int, int], bias: bool, channels_last: bool
):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 5, 16, stride=16, bias=bias)).double()
    images = torch.randn(2, 3, *side, dtype=torch.float64, requires_grad=True)
    given = images.contiguous(memory_format=torch.channels_last) if channels_last else images
    before = trunk(given)
    weights = list(trunk.parameters())
    expected = torch.autograd.grad(before.square().sum(), [images, *weights])
    as_products(trunk)
    assert type(trunk[0]) is PatchConv
    assert all(one is other for one, other in zip(weights, trunk.parameters(), strict=True))
    after = trunk(given)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(torch.autograd.grad(after.square().sum(), [images, *weights]), expected)


def test_other_convolutions_stay_as_they_are():
    others = [
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(3, 4, 4, stride=4),
        nn.Conv2d(3, 4, 16, stride=8),
        nn.Conv2d(4, 4, 16, stride=16, groups=2),
        nn.Conv2d(3, 4, 16, stride=16, padding=2),
    ]
    trunk = nn.ModuleList(others)
    as_products(trunk)
    assert [type(each) for each in trunk] == [nn.Conv2d] * len(others)


def test_the_patches_of_a_vision_transformer_are_a_product_under_the_same_names():
    tower = TimmImage(name="test_vit", size=160).build()
    assert any(isinstance(part, PatchConv) for part in tower.modules())
    assert "trunk.patch_embed.proj.weight" in tower.state_dict()
