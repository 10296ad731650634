"""`mmpretrain export --to open_clip`: open_clip itself loads the folder, and says the same of pictures and texts."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.recipes.starts.origin import find_origin
from tests.commands import command, refused
from tests.conftest import ConfigWriter
from tests.export.runs import export, refusal, train

TEXTS = ["a red square", "two DOGS &amp; a cat", ""]
VIT = {"kind": "open_clip", "name": "ViT-B-32", "size": 32, "options": {"layers": 1, "width": 64, "patch_size": 16}}
RUNS: dict[str, dict[str, Any]] = {
    "timm's ResNet": {},
    "timm's ViT, sigmoid, averaged weights": {
        "optim__ema": 0.5,
        "towers__image": {"kind": "timm", "name": "test_vit", "size": 160, "normalisation": "half"},
        "objectives": [{"kind": "sigmoid"}],
        "data__batch": 4,
    },
    "open_clip's ViT, quick_gelu": {
        "towers__image": {**VIT, "options": {**VIT["options"], "embed_dim": 16, "quick_gelu": True}},
        "towers__text__mlp": "quick_gelu",
        "towers__text__mlp_width": 24,
    },
    "low-rank changes of another run": {"adaptation": {"kind": "lora", "rank": 2}, "init": "first"},
}


@pytest.mark.parametrize("name", RUNS)
def test_open_clip_gives_the_vectors_of_the_run(name: str, toy_config: ConfigWriter, tmp_path: Path):
    overrides = dict(RUNS[name])
    if "init" in overrides:
        overrides["init"] = str(train(toy_config, "first"))
    run, out = train(toy_config, **overrides), tmp_path / "hub"
    said = export(run, "--to", "open_clip", "--out", out)
    assert "image: differs from torch by" in said
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{out}")
    model.eval()
    ours = find_origin(str(run))
    tokenizer, tensors = ours.tokenizer(), ours.tensors()
    own = ours.towers.build(tokenizer.vocabulary, tokenizer.context_length)
    own.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
    own.eval()
    side = own.image.size
    pixels = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
    prepared = torch.stack([preprocess(Image.fromarray(each.numpy())) for each in pixels])
    with torch.no_grad():
        close = {"atol": 1e-5, "rtol": 0}
        images = own.embed_images(pixels.permute(0, 3, 1, 2))
        torch.testing.assert_close(model.encode_image(prepared, normalize=True), images, **close)
        tokens = open_clip.get_tokenizer(f"local-dir:{out}")(TEXTS)
        texts = own.embed_texts(*tokenizer(TEXTS))
        torch.testing.assert_close(model.encode_text(tokens, normalize=True), texts, **close)
    kind = "sigmoid" if "sigmoid" in name else "contrastive"
    assert model.logit_scale.item() == pytest.approx(tensors[f"objectives.{kind}.log_scale"].item())
    assert (model.logit_bias is not None) == (kind == "sigmoid")


def test_what_was_exported_is_a_start_with_the_same_vectors(toy_config: ConfigWriter, tmp_path: Path):
    run = train(toy_config)
    export(run, "--to", "open_clip", "--out", tmp_path / "hub")
    there, back = find_origin(str(run)), find_origin(f"local-dir:{tmp_path / 'hub'}")
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    said = []
    for origin in (there, back):
        tokenizer, tensors = origin.tokenizer(), origin.tensors()
        model = origin.towers.build(tokenizer.vocabulary, tokenizer.context_length).eval()
        model.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
        with torch.no_grad():
            said.append((model.embed_images(pictures), model.embed_texts(*tokenizer(TEXTS))))
    torch.testing.assert_close(said[0], said[1], atol=1e-5, rtol=0)


def test_the_report_says_how_far_each_part_is_from_torch(toy_config: ConfigWriter, tmp_path: Path):
    run, out = train(toy_config), tmp_path / "hub"
    facts = json.loads(export(run, "--to", "open_clip", "--out", out, "--json"))
    report = json.loads((out / "export_report.json").read_text())
    assert facts == {**report, "out": str(out)}
    assert report["compared_on"] == "shapes:val"
    assert {each["name"] for each in report["parts"]} == {"image", "image as open_clip prepares it", "text", "scale"}
    assert all(each["passed"] and each["largest_difference"] < 1e-5 for each in report["parts"])
    assert report["versions"]["open_clip_torch"] == open_clip.__version__


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another vocabulary": (
        {"data__tokenizer": {"kind": "wordpiece", "context_length": 12, "vocabulary": 100}},
        "data.tokenizer: a vocabulary other than CLIP's",
    ),
    "text read both ways": (
        {"towers__text": {"kind": "bidirectional", "width": 16, "layers": 1, "heads": 2}},
        "towers.text.kind: bidirectional",
    ),
    "gated, rotary text and GroupNorm": (
        {"towers__text__mlp": "swiglu", "towers__text__positions": "rotary", "towers__image__norm": "group"},
        "towers.text.positions: rotary; towers.text.mlp: swiglu; towers.image.norm: group",
    ),
    "torchvision": (
        {"towers__image": {"kind": "torchvision", "name": "mobilenet_v3_small", "size": 32}},
        "towers.image.kind: torchvision",
    ),
    "pictures of a size that timm has not": (
        {"towers__image": {"kind": "timm", "name": "test_vit", "size": 32}},
        "size mismatch for visual.trunk.pos_embed",
    ),
    "no common space": (
        {"objectives": [{"kind": "captioning"}], "towers__decoder": {"layers": 1}},
        "objectives: captioning, which put pictures and texts into no common space",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_open_clip_cannot_express_is_refused_by_name(name: str, toy_config: ConfigWriter, tmp_path: Path):
    overrides, reason = REFUSED[name]
    run = train(toy_config, **overrides)
    assert reason in refusal(ConfigError, run, "--to", "open_clip", "--out", tmp_path / "hub")
    assert not list(tmp_path.glob("hub*"))


def test_a_place_where_nothing_can_be_made_is_one_line(toy_config: ConfigWriter, tmp_path: Path):
    run, file = train(toy_config), tmp_path / "file"
    file.touch()
    said = refused(command("export", run, "--to", "open_clip", "--out", file / "hub"), 1)
    assert "Not a directory; choose another run.folder=PATH or --out, then repeat" in said


def test_what_differs_is_not_kept_and_what_is_there_is_not_touched(toy_config: ConfigWriter, tmp_path: Path):
    run, out = train(toy_config), tmp_path / "hub"
    asked = (run, "--to", "open_clip", "--out", out)
    said = refusal(MmpretrainError, *asked, "--tolerance", 1e-30)
    assert "differs from torch on shapes:val: image by" in said
    assert "nothing was kept" in said
    assert not list(tmp_path.glob("hub*"))
    out.mkdir()
    assert f"--out: {out} exists" in refusal(ConfigError, *asked)
    assert not list(out.iterdir())
    assert "did you mean 'open_clip'" in refusal(ConfigError, run, "--to", "openclip", "--out", tmp_path / "other")
