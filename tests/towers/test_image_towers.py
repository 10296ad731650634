"""Contracts of the image towers, over all kinds and many families."""

from functools import cache
from typing import Any

import open_clip
import pytest
import torch

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.towers.image import ImageTower, OpenClipImage, TimmImage, TorchvisionImage
from mmpretrain.towers.model import Towers

KINDS: dict[str, Any] = {"timm": TimmImage, "torchvision": TorchvisionImage, "open_clip": OpenClipImage}
SMALL_VIT = {"layers": 2, "width": 64, "head_width": 32}
SMALL_SWIN = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 3, 4]}

TABLE = [
    # kind, name, size, options -> side of the grid, prefix, width of the pooled vector, width of a token
    ("timm", "test_vit", 64, {}, 4, 1, 64, 64),
    ("timm", "vit_tiny_patch16_224", 48, {"depth": 2}, 3, 1, 192, 192),
    ("timm", "deit_tiny_distilled_patch16_224", 48, {"depth": 2}, 3, 2, 192, 192),
    ("timm", "vit_tiny_patch16_dinov3_qkvb", 64, {"depth": 2}, 4, 5, 192, 192),
    ("timm", "swin_tiny_patch4_window7_224", 96, SMALL_SWIN, 3, 0, 192, 192),
    ("timm", "test_resnet", 128, {}, 4, 0, 96, 96),
    ("timm", "resnet18", 64, {}, 2, 0, 512, 512),
    ("timm", "resnet50", 64, {}, 2, 0, 2048, 2048),
    ("timm", "convnext_atto", 64, {}, 2, 0, 320, 320),
    ("timm", "tf_efficientnet_lite0", 64, {}, 2, 0, 1280, 1280),
    ("timm", "mobilenetv3_small_050", 64, {}, 2, 0, 1024, 288),
    ("timm", "hgnetv2_b0", 64, {}, 2, 0, 2048, 1024),
    ("timm", "test_mambaout", 128, {}, 4, 0, 256, 64),
    ("timm", "crossvit_tiny_240", 240, {}, 14, 1, 288, 192),
    ("timm", "efficientvim_m1", 128, {}, 2, 0, 960, 320),
    ("timm", "pit_xs_distilled_224", 224, {}, 0, 2, 384, 384),
    ("timm", "fastvit_t8", 64, {}, 2, 0, 768, 768),
    ("timm", "caformer_s18", 64, {}, 2, 0, 512, 512),
    ("torchvision", "resnet18", 64, {}, 2, 0, 512, 512),
    ("torchvision", "vit_b_32", 64, {}, 2, 1, 768, 768),
    ("torchvision", "convnext_tiny", 64, {}, 2, 0, 768, 768),
    ("torchvision", "efficientnet_b0", 64, {}, 2, 0, 1280, 1280),
    ("torchvision", "mobilenet_v3_small", 64, {}, 2, 0, 576, 576),
    ("torchvision", "swin_t", 64, {}, 2, 0, 768, 768),
    ("torchvision", "regnet_y_400mf", 64, {}, 2, 0, 440, 440),
    ("open_clip", "RN50", 128, {"layers": [1, 1, 1, 1], "width": 16}, 4, 0, 1024, 512),
    ("open_clip", "ViT-B-32", 96, SMALL_VIT, 3, 1, 512, 64),
    ("open_clip", "coca_ViT-B-32", 96, SMALL_VIT, 3, 1, 512, 64),
    ("open_clip", "convnext_base", 64, {"timm_model_name": "test_convnext"}, 2, 0, 512, 64),
    ("open_clip", "ViT-B-16-SigLIP", 64, {"timm_model_name": "test_vit3"}, 4, 1, 96, 96),
]
IDS = [f"{kind}-{name}" for kind, name, *_ in TABLE]


@cache
def tower_of(kind: str, name: str, size: int) -> ImageTower:
    torch.manual_seed(0)
    options = next(options for k, n, _, options, *_ in TABLE if (k, n) == (kind, name))
    return KINDS[kind](name=name, size=size, options=options).build()


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "name", "size", "options", "side", "prefix", "width", "token_width"), TABLE, ids=IDS)
def test_a_tower_keeps_the_contract(
    kind: str, name: str, size: int, options: dict, side: int, prefix: int, width: int, token_width: int
):
    tower = tower_of(kind, name, size)
    assert (tower.grid, tower.prefix, tower.width, tower.token_width) == ((side, side), prefix, width, token_width)
    tower.train()
    images = pictures(3, size)
    tokens_BND, pooled_BD = tower(images)
    assert tokens_BND.shape == (3, prefix + side * side, token_width)
    assert pooled_BD.shape == (3, width)

    with torch.no_grad():
        alone_BD = tower(images[:1])[1]
    scale = pooled_BD.abs().max().item()
    assert torch.allclose(pooled_BD[:1], alone_BD, atol=1e-5 * max(1.0, scale)), "a row depends on its batch mates"

    (pooled_BD * torch.randn_like(pooled_BD)).sum().backward()
    silent = [name for name, p in tower.trunk.named_parameters() if p.requires_grad and p.grad is None]
    tower.zero_grad(set_to_none=True)
    assert not silent, "dry runs refuse parameters without a gradient"


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        ("timm", "test_vit", 64),
        ("timm", "vit_tiny_patch16_dinov3_qkvb", 64),
        ("timm", "test_resnet", 128),
        ("timm", "swin_tiny_patch4_window7_224", 96),
        ("timm", "test_mambaout", 128),
        ("timm", "crossvit_tiny_240", 240),
        ("torchvision", "resnet18", 192),
        ("torchvision", "vit_b_32", 64),
        ("torchvision", "swin_t", 96),
        ("open_clip", "RN50", 128),
        ("open_clip", "ViT-B-32", 96),
        ("open_clip", "ViT-B-16-SigLIP", 64),
    ],
)
def test_tokens_lie_in_reading_order(kind: str, name: str, size: int):
    """A bright patch in a corner changes most a token of that corner."""
    tower = tower_of(kind, name, size).eval()
    rows, columns = tower.grid
    side = size // rows
    for row, column in ((0, columns - 1), (rows - 1, 0)):
        images = torch.full((2, 3, size, size), 100, dtype=torch.uint8)
        images[1, :, row * side : (row + 1) * side, column * side : (column + 1) * side] = 255
        with torch.no_grad():
            tokens_BND = tower(images)[0][:, tower.prefix :]
        place = int((tokens_BND[1] - tokens_BND[0]).norm(dim=-1).argmax())
        found_row, found_column = divmod(place, columns)
        # a map's places look beyond their own pixels
        assert abs(found_row - row) + abs(found_column - column) <= (0 if "vi" in name.lower() else 1)


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("timm", "tf_efficientnet_lite0", {}),
        ("timm", "test_resnet", {}),
        ("torchvision", "resnet18", {}),
        ("torchvision", "mobilenet_v3_small", {}),
        ("open_clip", "RN50", {"layers": [1, 1, 1, 1], "width": 24}),
    ],
)
def test_group_norm_stands_wherever_batch_norm_stood(kind: str, name: str, options: dict):
    frozen, group = (
        KINDS[kind](name=name, size=64, norm=norm, options=options).build() for norm in ("frozen", "group")
    )
    assert frozen.needs_statistics()
    assert not group.batch_norms()
    assert not group.needs_statistics()
    assert [n for n, _ in group.named_parameters()] == [n for n, _ in frozen.named_parameters()]
    group.train()
    images = pictures(2, 64)
    assert torch.allclose(group(images)[1][:1], group(images[:1])[1], atol=1e-5)


def test_an_open_clip_tower_pools_what_open_clip_encodes():
    torch.manual_seed(0)
    theirs = open_clip.create_model("ViT-S-32-alt", force_image_size=64).eval()
    tower = OpenClipImage(name="ViT-S-32-alt", size=64).build().eval()
    tower.trunk.load_state_dict(theirs.visual.state_dict())
    images = pictures(2, 64)
    pixels = (images.float() - tower.mean_C11) / tower.std_C11
    with torch.no_grad():
        assert torch.allclose(tower(images)[1], theirs.encode_image(pixels), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("timm", "resnet-18", "'resnet18'"),
        ("torchvision", "vit_b32", "'vit_b_32'"),
        ("torchvision", "densenet121", "families ResNet"),
        ("open_clip", "ViT-B/32", "'ViT-B-32'"),
    ],
)
def test_a_wrong_name_is_refused_with_the_one_that_was_meant(kind: str, name: str, meant: str):
    with pytest.raises(ConfigError, match=rf"towers\.image\.name: .*{meant}"):
        KINDS[kind](name=name).build()


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("timm", "test_vit", 64),
        ("torchvision", "vit_b_32", 64),
        ("open_clip", "ViT-B-32", 64),
        ("open_clip", "RN50", 64),
    ],
)
def test_a_size_that_does_not_divide_is_refused_with_one_that_does(kind: str, name: str, near: int):
    with pytest.raises(ConfigError, match=rf"towers\.image\.size: 70 px .*use {near}"):
        KINDS[kind](name=name, size=70).build()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TimmImage(name="resnet18", size=32, options={"depht": 3}), "options: resnet18 does not take them"),
        (TimmImage(name="vgg11", size=32, drop_path=0.1), "drop_path: vgg11 has none"),
        (TimmImage(name="resnet18", size=32, patch_dropout=0.5), "patch_dropout: resnet18 has none"),
        (TorchvisionImage(name="resnet18", size=32, drop_path=0.1), "drop_path: torchvision's resnet18 has none"),
        (TorchvisionImage(name="resnet18", size=32, patch_dropout=0.5), "patch_dropout: resnet18 has no patch"),
        (OpenClipImage(name="ViT-S-32-alt", size=32, drop_path=0.1), "drop_path: open_clip's ViT-S-32-alt has none"),
        (OpenClipImage(name="RN50", size=32, patch_dropout=0.5), "patch_dropout: RN50 has none"),
        (OpenClipImage(name="RN50", size=32, checkpointing=True), "checkpointing: RN50 has none"),
        (TorchvisionImage(name="vgg11", size=32, checkpointing=True), "checkpointing: vgg11 has none"),
        (TimmImage(name="hrnet_w18_small", size=64, checkpointing=True), "checkpointing: hrnet_w18_small has none"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{value.kind}-{value.name}",
)
def test_what_a_tower_has_not_is_refused_by_name(settings: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        settings.build()


@pytest.mark.parametrize(
    ("kind", "option"), [("timm", "pretrained"), ("timm", "checkpoint_path"), ("open_clip", "timm_model_pretrained")]
)
def test_options_cannot_download_or_unpickle(kind: str, option: str):
    with pytest.raises(ValueError, match="has a setting of its own, weights"):
        KINDS[kind](name="resnet18", options={option: True})


def test_the_kind_in_a_config_chooses_the_tower():
    towers = build(Towers, {"image": {"kind": "torchvision", "name": "resnet18"}})
    assert isinstance(towers.image, TorchvisionImage)
    with pytest.raises(ConfigError, match=r"image\.kind: unknown kind 'torchvison'; did you mean 'torchvision'"):
        build(Towers, {"image": {"kind": "torchvison", "name": "resnet18"}})
    with pytest.raises(ConfigError, match=r"image\.patch_dropuot: unknown key; did you mean 'patch_dropout'"):
        build(Towers, {"image": {"kind": "timm", "name": "resnet18", "patch_dropuot": 0.5}})


@pytest.mark.parametrize(("normalisation", "black"), [("openai", -1.7923), ("imagenet", -2.1179), ("half", -1.0)])
def test_pixels_are_normalised_as_asked(normalisation: str, black: float):
    tower = TimmImage(name="test_resnet", size=32, normalisation=normalisation).build()
    assert (-tower.mean_C11 / tower.std_C11)[0].item() == pytest.approx(black, abs=1e-3)
