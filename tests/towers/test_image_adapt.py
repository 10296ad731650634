"""Frozen blocks, patch dropout, dropout and activation checkpointing of image towers."""

from typing import Any

import pytest
import torch

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers.image import ImageTower, OpenClipImage, TimmImage, TorchvisionImage

SMALL_VIT = {"layers": 2, "width": 64, "head_width": 32}
VITS = [
    (TimmImage, {"name": "test_vit", "size": 64}),
    (TorchvisionImage, {"name": "vit_b_32", "size": 128}),
    (OpenClipImage, {"name": "ViT-B-32", "size": 128, "options": SMALL_VIT}),
    (OpenClipImage, {"name": "ViT-B-16-SigLIP", "size": 64, "options": {"timm_model_name": "test_vit"}}),
]
ALL = [
    *VITS,
    (TimmImage, {"name": "test_resnet", "size": 64}),
    (TorchvisionImage, {"name": "resnet18", "size": 64}),
]
WITH_BLOCKS = [*ALL, (OpenClipImage, {"name": "RN50", "size": 64, "options": {"layers": [1, 1, 1, 1], "width": 16}})]


def named(cases: list) -> dict:
    return {"argvalues": cases, "ids": [f"{kind.__name__}-{given['name']}" for kind, given in cases]}


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def gradients(tower: ImageTower) -> dict[str, torch.Tensor]:
    tower.train()
    torch.manual_seed(3)
    tokens_BND, pooled_BD = tower(pictures(2, tower.size))
    (pooled_BD.square().sum() + tokens_BND.square().mean()).backward()
    return {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}


def trainable(tower: ImageTower) -> int:
    return sum(p.numel() for p in tower.parameters() if p.requires_grad)


@pytest.mark.parametrize(("kind", "given"), **named(VITS))
def test_patch_dropout_leaves_out_its_share_in_training_and_nothing_else(kind: Any, given: dict):
    tower = kind(**given, patch_dropout=0.5).build()
    patches = tower.grid[0] * tower.grid[1]
    assert patches == 16
    images = pictures(2, tower.size)
    assert tower.eval()(images)[0].shape[1] == tower.prefix + patches
    tower.train()
    torch.manual_seed(1)
    tokens_BND, pooled_BD = tower(images)
    assert tokens_BND.shape[1] == tower.prefix + patches // 2
    torch.manual_seed(1)
    assert torch.equal(tower(images)[1], pooled_BD)
    torch.manual_seed(2)
    assert not torch.equal(tower(images)[1], pooled_BD)


@pytest.mark.parametrize(("kind", "given"), **named(ALL))
def test_checkpointing_gives_the_same_gradient(kind: Any, given: dict):
    vit = (kind, given) in VITS
    more = {"dropout": 0.2, **({"patch_dropout": 0.25} if vit else {"norm": "group"})}
    plain = kind(**given, **more).build()
    again = kind(**given, **more, checkpointing=True).build()
    again.load_state_dict(plain.state_dict())
    expected, found = gradients(plain), gradients(again)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(expected[name], found[name], rtol=1e-5, atol=1e-6) for name in expected)


def test_checkpointing_with_batch_statistics_is_refused():
    with pytest.raises(ValueError, match="running statistics of norm=batch twice"):
        TimmImage(name="resnet18", norm="batch", checkpointing=True)


@pytest.mark.parametrize(("kind", "given"), **named(WITH_BLOCKS))
def test_frozen_blocks_get_no_gradient(kind: Any, given: dict):
    counts = []
    for blocks in (0, 1, 2, "all"):
        tower = kind(**given, frozen_blocks=blocks).build()
        counts.append(trainable(tower))
        if blocks != "all":
            reached = gradients(tower).keys()
            assert reached == {name for name, p in tower.named_parameters() if p.requires_grad}
    assert counts[0] > counts[1] > counts[2] > counts[3] == 0


def test_the_stem_is_the_first_block_and_holds_the_embeddings():
    tower = TimmImage(name="test_vit", size=64, frozen_blocks=1).build()
    frozen = {name.split(".")[1] for name, p in tower.named_parameters() if not p.requires_grad}
    assert frozen == {"cls_token", "pos_embed", "patch_embed"}


@pytest.mark.parametrize(("kind", "given"), **named(WITH_BLOCKS))
def test_more_blocks_than_there_are_is_refused(kind: Any, given: dict):
    with pytest.raises(ConfigError, match=r"frozen_blocks: there are \d+ blocks with the stem, not 99"):
        kind(**given, frozen_blocks=99).build()


def test_blocks_that_are_not_known_can_only_be_frozen_together():
    with pytest.raises(ConfigError, match="blocks of caformer_s18 are not known; say all or 0"):
        TimmImage(name="caformer_s18", size=64, frozen_blocks=2).build()
    assert trainable(TimmImage(name="caformer_s18", size=64, frozen_blocks="all").build()) == 0


def test_frozen_norms_keep_their_statistics_even_under_norm_batch():
    tower = TimmImage(name="test_resnet", size=32, norm="batch", frozen_blocks=2).build()
    tower.train()
    fixed = [norm for norm in tower.batch_norms() if not norm.training]
    assert 0 < len(fixed) < len(tower.batch_norms())
    before = [norm.running_mean.clone() for norm in fixed]
    tower(pictures(4, 32))
    assert all(torch.equal(mean, norm.running_mean) for mean, norm in zip(before, fixed, strict=True))


def test_dropout_zeroes_channels_in_training_only():
    tower = TimmImage(name="test_vit", size=32, dropout=0.5).build()
    images = pictures(4, 32)
    assert 0.3 < (tower.train()(images)[1] == 0).float().mean() < 0.7
    assert (tower.eval()(images)[1] != 0).all()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (TimmImage, {"name": "test_convnext", "size": 64}),
        (TorchvisionImage, {"name": "swin_t", "size": 64}),
        (OpenClipImage, {"name": "convnext_base", "size": 64, "options": {"timm_model_name": "test_convnext"}}),
    ],
)
def test_drop_path_acts_in_training_only(kind: Any, given: dict):
    tower = kind(**given, drop_path=0.9).build()
    images = pictures(8, 64)
    tower.train()
    torch.manual_seed(1)
    first_BD = tower(images)[1]
    torch.manual_seed(2)
    assert not torch.equal(tower(images)[1], first_BD)
    tower.eval()
    assert torch.equal(tower(images)[1], tower(images)[1])
