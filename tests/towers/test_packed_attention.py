"""Attention of tokens to each other without copies: torch's numbers, its parameters, and where it stays torch's."""

import pytest
import torch
from torch import nn

from mmpretrain.towers.kernels import attention_kernel
from mmpretrain.towers.open_clip_image import OpenClipImage
from mmpretrain.towers.packed import PackedAttention, pack_attention


@pytest.mark.parametrize("bias", [False, True])
def test_packed_attention_gives_the_values_and_gradients_of_torchs(bias: bool):
    torch.manual_seed(0)
    trunk = nn.ModuleList([nn.MultiheadAttention(12, 3, bias=bias, batch_first=True).double()])
    x_BND = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    wanted = [x_BND, *trunk.parameters()]
    before = trunk[0](x_BND, x_BND, x_BND, need_weights=False)[0]
    expected = torch.autograd.grad(before.square().sum(), wanted)
    pack_attention(trunk)
    assert type(trunk[0]) is PackedAttention
    after = trunk[0](x_BND, x_BND, x_BND, need_weights=False)[0]
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(torch.autograd.grad(after.square().sum(), wanted), expected)


def test_masks_weights_and_other_tokens_are_computed_as_ever():
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(12, 3, batch_first=True)
    packed = nn.MultiheadAttention(12, 3, batch_first=True)
    packed.load_state_dict(plain.state_dict())
    pack_attention(packed)
    x_BND, other_BMD = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    mask_NN = torch.ones(5, 5).triu(1).bool()
    asked = [
        ((x_BND, x_BND, x_BND), {"need_weights": False, "attn_mask": mask_NN}),
        ((x_BND, x_BND, x_BND), {"need_weights": False, "attn_mask": mask_NN, "is_causal": True}),
        ((x_BND, x_BND, x_BND), {"need_weights": False, "key_padding_mask": torch.eye(2, 5).bool()}),
        ((x_BND, x_BND, x_BND), {}),
        ((x_BND, other_BMD, other_BMD), {"need_weights": False}),
    ]
    for given, options in asked:
        torch.testing.assert_close(packed(*given, **options), plain(*given, **options))


def test_attention_that_is_more_than_one_product_stays_torchs():
    others = nn.ModuleList(
        [
            nn.MultiheadAttention(12, 3),
            nn.MultiheadAttention(12, 3, kdim=4, vdim=4, batch_first=True),
            nn.MultiheadAttention(12, 3, dropout=0.1, batch_first=True),
            nn.MultiheadAttention(12, 3, add_bias_kv=True, batch_first=True),
            nn.MultiheadAttention(12, 3, add_zero_attn=True, batch_first=True),
        ]
    )
    pack_attention(others)
    assert all(type(each) is nn.MultiheadAttention for each in others)


def test_the_blocks_of_open_clips_vision_transformers_are_packed_under_the_same_names():
    options = {"layers": 2, "width": 64, "head_width": 32}
    tower = OpenClipImage(name="ViT-B-32", size=64, options=options).build()
    assert sum(isinstance(part, PackedAttention) for part in tower.modules()) == 2
    assert "trunk.transformer.resblocks.0.attn.in_proj_weight" in tower.state_dict()


def test_both_kernels_give_the_same_numbers_in_bf16_up_to_its_rounding():
    torch.manual_seed(0)
    tower = OpenClipImage(name="ViT-B-32", size=64, options={"layers": 2, "width": 64, "head_width": 32}).build()
    images_BCHW = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    exact_BD = tower(images_BCHW)[1]
    with torch.autocast("cpu", torch.bfloat16):
        plain_BD = tower(images_BCHW)[1]
        with torch.no_grad():
            fused_BD = tower(images_BCHW)[1]
    assert not torch.equal(plain_BD, fused_BD)
    for found_BD in (plain_BD, fused_BD):
        assert (found_BD.float() - exact_BD).norm() < 0.02 * exact_BD.norm()


def test_the_kernel_that_was_set_before_is_set_again():
    fused = torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed
    before = [each() for each in fused]
    with attention_kernel(torch.zeros(1, dtype=torch.bfloat16)):
        assert [each() for each in fused] == [False, True]
    assert [each() for each in fused] == before
