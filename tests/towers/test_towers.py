import open_clip
import pytest
import torch
from torch import nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers import open_clip_names
from mmpretrain.towers.image import TimmImage, measure_statistics
from mmpretrain.towers.model import Towers
from mmpretrain.towers.text import CausalText


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("resnet10t", 64, 4),
        ("test_vit", 32, 5),
        ("vit_tiny_patch16_224", 32, 5),
        ("test_convnext", 64, 4),
        ("test_resnet", 32, 1),
    ],
)
def test_every_image_tower_gives_tokens_and_a_pooled_vector(name: str, size: int, tokens: int):
    tower = TimmImage(name=name, size=size).build()
    tokens_BND, pooled_BD = tower(pictures(2, size))
    assert tokens_BND.shape == (2, tokens, tower.width)
    assert pooled_BD.shape == (2, tower.width)


def test_an_unknown_architecture_names_the_one_that_was_meant():
    with pytest.raises(ConfigError, match="did you mean 'resnet18'"):
        TimmImage(name="resnet-18").build()


def test_a_patch_that_does_not_divide_the_picture_is_refused_with_a_size_that_does():
    with pytest.raises(ConfigError, match="use 64"):
        TimmImage(name="vit_tiny_patch16_224", size=70).build()


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_a_row_does_not_depend_on_its_batch_mates(norm: str):
    tower = TimmImage(name="resnet10t", size=32, norm=norm).build()
    measure_statistics(tower, [pictures(8, 32)])
    tower.train()
    images = pictures(4, 32)
    assert torch.allclose(tower(images)[1][:1], tower(images[:1])[1], atol=1e-5)


def test_measured_statistics_make_the_layers_behave_as_batch_norm_does_at_the_start():
    tower = TimmImage(name="resnet10t", size=32).build()
    images = pictures(64, 32)
    measure_statistics(tower, [images])
    frozen = tower(images)[1]
    tower.norm = "batch"
    tower.train()
    assert torch.allclose(frozen, tower(images)[1], rtol=0.02, atol=0.02)


def test_frozen_statistics_stay_frozen_in_training():
    tower = TimmImage(name="resnet10t", size=32).build()
    tower.train()
    before = [norm.running_mean.clone() for norm in tower.batch_norms()]
    tower(pictures(4, 32))
    assert all(torch.equal(a, norm.running_mean) for a, norm in zip(before, tower.batch_norms(), strict=True))


def test_group_norm_leaves_no_batch_norm():
    tower = TimmImage(name="resnet10t", size=32, norm="group").build()
    assert not tower.batch_norms()
    assert any(isinstance(module, nn.GroupNorm) for module in tower.modules())


def test_padding_and_batch_mates_do_not_change_a_text():
    tower = CausalText(width=16, layers=2, heads=2).build(50, 12)
    tokens_BL, mask_BL = torch.tensor([[1, 5, 7, 49, 0, 0, 0, 0]]), torch.tensor([[True] * 4 + [False] * 4])
    short = tower(tokens_BL[:, :4], mask_BL[:, :4])[1]
    assert torch.allclose(tower(tokens_BL, mask_BL)[1], short, atol=1e-6)


def test_a_width_that_does_not_divide_into_heads_is_refused():
    with pytest.raises(ValueError, match="width 10 does not divide by 3 heads"):
        CausalText(width=10, heads=3)


def test_the_quickstarts_model_is_one_of_open_clip_weight_for_weight(tmp_path):
    ours = Towers(
        image=TimmImage(name="test_resnet", size=64), text=CausalText(width=128, layers=3, heads=2), embedding=256
    ).build(49408, 32)
    measure_statistics(ours.image, [pictures(8, 64)])
    theirs = open_clip.model.CustomTextCLIP(
        embed_dim=256,
        vision_cfg={"timm_model_name": "test_resnet", "timm_proj": "linear", "timm_pool": "", "image_size": 64},
        text_cfg={"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3},
    ).eval()
    state = {f"visual.trunk.{name}": tensor for name, tensor in ours.image.trunk.state_dict().items()}
    state["visual.head.proj.weight"] = ours.image_projection.weight
    own = {f"model.{name}": tensor for name, tensor in ours.state_dict().items() if name.startswith("text")}
    state |= {f"text.{name}": tensor for name, tensor in open_clip_names.theirs(own).items()}
    state["logit_scale"] = theirs.logit_scale
    theirs.load_state_dict(state)

    images = pictures(3, 64)
    pixels = (images.float() - ours.image.mean_C11) / ours.image.std_C11
    assert torch.allclose(ours.embed_images(images), theirs.encode_image(pixels, normalize=True), atol=1e-5)
    tokens = open_clip.SimpleTokenizer()(["a cat", "two dogs on a sofa"], context_length=32)
    mask = torch.arange(32) <= tokens.argmax(dim=1, keepdim=True)
    assert torch.allclose(ours.embed_texts(tokens, mask), theirs.encode_text(tokens, normalize=True), atol=1e-5)
