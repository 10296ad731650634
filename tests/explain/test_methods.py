"""All methods on towers of all libraries keep one contract, and those that do not suit say which does."""

import sys

import pytest
import torch
from torch import nn

from mmpretrain.commands.explain import METHODS
from mmpretrain.core.errors import ConfigError
from mmpretrain.explain.attention import attentions, weighed_by_gradient
from mmpretrain.explain.base import Target, with_graph
from mmpretrain.explain.build import method_named, methods, suited
from mmpretrain.explain.gradcam import GradCam
from mmpretrain.explain.layers import map_layers
from mmpretrain.explain.relevance import through
from mmpretrain.explain.rise import Rise
from mmpretrain.explain.rollout import Rollout
from mmpretrain.report import wording
from tests.explain.towers import TOWERS, VITS, model_of, noise, quadrant_target, some_target

OF_TRANSFORMERS = ("rollout", "gradient_attention")
CASES = [(tower, name) for tower in TOWERS for name in methods() if tower in VITS or name not in OF_TRANSFORMERS]


@pytest.mark.parametrize(("tower", "name"), CASES, ids=[f"{tower}: {name}" for tower, name in CASES])
def test_a_map_has_the_size_of_the_picture_and_leaves_the_model_as_it_was(tower: str, name: str):
    model = model_of(tower).train()
    target, image = some_target(model), noise()
    method = Rise(masks=32) if name == "rise" else method_named(name, model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules()]
    model.image.trunk.eval()  # BatchNorm and dropout of the score that follows
    modes = [each.training for each in model.modules()]

    found = method(model, target, image)

    assert found.shape == (64, 64)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, method(model, target, image)), "the same picture has the same map"
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert modes == [each.training for each in model.modules()]
    assert hooks == [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules()]


@pytest.mark.parametrize("tower", TOWERS)
def test_some_place_speaks_for_a_target_or_for_its_opposite(tower: str):
    model = model_of(tower).eval()
    whole = some_target(model)
    opposite = Target(name="", score=lambda images_BCHW: -whole.score(images_BCHW))
    maps = [method_named("", model)(model, target, noise()) for target in (whole, opposite)]
    assert max(float(each.max()) for each in maps) == 1
    assert max(float(each.std()) for each in maps) > 0.01


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_attention_of_a_resnet_is_refused_with_the_method_that_works(name: str):
    model = model_of("timm resnet").eval()
    with pytest.raises(ConfigError, match=f"{name}: ResNet has no attention.*use --method hires_cam"):
        method_named(name, model)(model, some_target(model), noise())


def test_an_unknown_method_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="gradcam"):
        method_named("grad-cam", model_of("timm resnet"))


def test_without_captum_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    model = model_of(next(iter(TOWERS)))
    with pytest.raises(ConfigError, match=r'explain: needs captum; pip install -e "\.\[explain\]"'):
        method_named("occlusion", model)(model, some_target(model), noise())


def test_a_transformer_is_explained_by_attention_and_a_pyramid_by_activations():
    assert suited(model_of("timm vit")) == "gradient_attention"
    assert suited(model_of("timm resnet")) == "hires_cam"


def test_frozen_weights_are_explained_too():
    for tower in ("timm resnet", "open_clip vit"):
        model = model_of(tower).eval()
        image, method = noise(), method_named("", model)
        free = method(model, some_target(model), image)
        model.requires_grad_(False)
        assert torch.allclose(method(model, some_target(model), image), free, atol=1e-6)


def test_layers_are_the_stages_of_a_pyramid_and_the_norm_before_the_last_attention():
    assert [layer.name for layer in map_layers(model_of("timm resnet").image)] == [
        "act1", "layer1", "layer2", "layer3", "layer4",
    ]  # fmt: skip
    assert [layer.name for layer in map_layers(model_of("timm vit").image)] == ["blocks.5.norm1"]
    assert [layer.name for layer in map_layers(model_of("open_clip vit").image)] == ["transformer.resblocks.1.ln_1"]


def test_gradcam_is_that_of_captum():
    captum = pytest.importorskip("captum.attr")
    model = model_of("torchvision resnet").eval()
    image = noise(seed=3)
    for sign in (1, -1):
        whole = some_target(model)
        target = Target(name="", score=lambda images, s=sign: s * whole.score(images))  # noqa: B023
        layer = GradCam().layer(map_layers(model.image))
        theirs = captum.LayerGradCam(target.score, layer.module).attribute(image[None].float(), relu_attributions=True)
        large = captum.LayerAttribution.interpolate(theirs, (64, 64), "bilinear")[0, 0].detach()
        ours = GradCam()(model, target, image)
        assert torch.allclose(ours, large / large.max().clamp(min=1e-30), atol=1e-5)


def test_rollout_of_two_layers_is_what_paper_and_pencil_say():
    # token 1 looks at token 2 in the first layer, the class token at token 1 in the second
    first = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]])
    second = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 1]])
    rolled = through(torch.eye(3), [first, second]) / 4  # A/2 + I/2 twice
    assert torch.allclose(rolled[0], torch.tensor([0.5, 0.25, 0.25]))
    assert torch.allclose(rolled, (second / 2 + torch.eye(3) / 2) @ (first / 2 + torch.eye(3) / 2))


def test_rollout_of_a_tower_follows_the_attention_that_its_layers_compute():
    model = model_of("timm vit").eval()
    blocks, kept = model.image.trunk.blocks, []
    hooks = [
        block.attn.register_forward_pre_hook(lambda module, given: kept.append((module, given[0]))) for block in blocks
    ]
    image = noise()
    with torch.no_grad():
        model.image(image[None])
    for hook in hooks:
        hook.remove()
    rolled = torch.eye(17)
    for attention, tokens_BND in kept:
        heads = attention.qkv(tokens_BND).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = attention.q_norm(heads[0]), attention.k_norm(heads[1])
        weights = (query @ key.transpose(-2, -1) * attention.scale).softmax(dim=-1)[0].mean(dim=0)
        rolled = (weights / 2 + torch.eye(17) / 2) @ rolled
    places = rolled[0, 1:].detach().view(1, 1, 4, 4)
    large = nn.functional.interpolate(places, (64, 64), mode="bilinear", align_corners=False)[0, 0]
    wanted = (large - large.min()) / (large.max() - large.min())
    assert torch.allclose(Rollout()(model, some_target(model), image), wanted, atol=1e-4)


def test_attention_that_is_watched_gives_the_same_score():
    for tower in VITS:
        model = model_of(tower).eval()
        target, image = some_target(model), noise()
        plain = target.score(with_graph(image))
        seen, score = attentions(model, target, image)
        assert seen
        assert torch.allclose(score, plain.sum(), atol=1e-4)
        assert any(each.weights_BHQK.abs().sum() > 0 for each in weighed_by_gradient(model, target, image))


@pytest.mark.parametrize("name", ["occlusion", "rise"])
def test_a_signal_in_one_quadrant_is_found_there(name: str):
    target, mask = quadrant_target()
    image = torch.full((3, 64, 64), 10, dtype=torch.uint8)
    image[:, mask] = 240
    found = method_named(name, model_of("timm resnet"))(model_of("timm resnet"), target, image)
    assert mask[divmod(int(found.argmax()), 64)]
    assert found[mask].mean() > 2 * found[~mask].mean()


def test_the_command_line_the_report_and_the_union_know_the_same_methods():
    assert sorted(METHODS) == sorted(methods())
    assert set(methods()) <= set(wording.METHODS)
