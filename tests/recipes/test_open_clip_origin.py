"""Runs that start from a model of open_clip: the same vectors, and from there on a run like any other."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory
from rich.console import Console
from safetensors.torch import load_file, save_file

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.assemble import Parts, build_parts
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import load_pretrain
from mmpretrain.recipes.starts.mix import mix
from mmpretrain.recipes.starts.origin import find_origin
from tests.conftest import ConfigWriter
from tests.recipes.adaptations import ADAPTATIONS
from tests.towers.open_clip_models import HALF, MODELS, make, save_epoch, save_folder

QUIET = Console(quiet=True)
TEXTS = ["a red square", "two dogs &amp; a CAT on a sofa, " + "far away " * 12, ""]
VIT = "vit, quick_gelu"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "hub", make(MODELS[VIT]), MODELS[VIT])


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that open_clip knows for the length of a test."""
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODELS[VIT])
    return "open_clip:tiny"


def started(config: Path) -> Parts:
    settings = load_pretrain(config)
    parts = build_parts(settings, World(), origin=find_origin(str(settings.init)))
    parts.module.eval()
    return parts


def assert_same_vectors(parts: Parts, theirs: Any, mean: Any, std: Any) -> None:
    model = parts.module.model
    assert model.image is not None
    side = model.image.size // 4  # patches of one colour: noise looks all alike to a random ResNet
    images = torch.randint(0, 256, (3, 3, 4, 4)).repeat_interleave(side, 2).repeat_interleave(side, 3).to(torch.uint8)
    mean_C11, std_C11 = (torch.tensor(each).view(3, 1, 1) for each in (mean, std))
    tokens = open_clip.SimpleTokenizer(context_length=20)(TEXTS)
    with torch.no_grad():
        image_BE = theirs.encode_image((images / 255 - mean_C11) / std_C11, normalize=True)
        text_BE = theirs.encode_text(tokens, normalize=True)
        torch.testing.assert_close(model.embed_images(images), image_BE, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.embed_texts(*parts.tokenizer(TEXTS)), text_BE, atol=1e-5, rtol=0)
    for rows_BE in (image_BE, text_BE):
        assert rows_BE.std(dim=0).max() > 1e-2, "it tells them apart"


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_of_the_hubs_layout_gives_the_vectors_and_scale_of_open_clip(
    name: str, toy_config: ConfigWriter, tmp_path: Path
):
    config = MODELS[name]
    theirs = make(config, HALF)
    theirs.logit_scale.data.fill_(3.5)
    save_folder(tmp_path / "hub", theirs, config)
    kind = "sigmoid" if "init_logit_bias" in config else "contrastive"
    given = {"init": f"local-dir:{tmp_path / 'hub'}", "objectives": [{"kind": kind}], "evaluation": []}
    parts = started(toy_config(**given))
    assert_same_vectors(parts, theirs, **HALF)
    objective: Any = parts.module.objectives[0]
    assert objective.log_scale.tolist() == [3.5]
    if kind == "sigmoid":
        assert objective.bias.tolist() == [-10]
    assert parts.start.new == []
    assert parts.start.left_out == []
    assert "open_clip_model.safetensors" in parts.start.origin


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_an_architecture_with_a_checkpoint_of_its_trainer_is_a_start(
    half: bool, tiny: str, toy_config: ConfigWriter, tmp_path: Path
):
    theirs = make(MODELS[VIT])
    file = save_epoch(tmp_path / "epoch_3.pt", theirs.half() if half else theirs)
    parts = started(toy_config(init=f"{tiny}={file}", evaluation=[]))
    assert parts.config.towers.image.name == "tiny"
    assert_same_vectors(parts, theirs.float(), open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    assert parts.start.origin == str(file)


def test_a_model_by_name_is_found_again_in_a_folder(toy_config: ConfigWriter, tmp_path: Path):
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({"logit_scale": torch.ones(1)}, tmp_path / "hub" / "open_clip_model.safetensors")
    towers = load_pretrain(toy_config(init=f"local-dir:{tmp_path / 'hub'}")).towers
    assert (towers.image.name, towers.image.options, towers.image.size) == ("ViT-B-32-quickgelu", {}, 224)
    assert (towers.text.mlp, towers.text.mlp_width, towers.embedding) == ("quick_gelu", 2048, 512)


def test_settings_beside_it_are_as_free_as_beside_a_run(folder: Path, toy_config: ConfigWriter):
    config = toy_config(init=f"local-dir:{folder}", evaluation=[])
    settings = load_pretrain(config, ["towers.image.size=64", "data.tokenizer.context_length=12"])
    parts = build_parts(settings, World(), origin=find_origin(str(settings.init)))
    assert parts.start.new == []
    assert parts.module.model.image.grid == (4, 4)
    assert len(parts.module.model.text.embedding.position_LD) == 12
    other = ["towers.image={kind: timm, name: test_resnet, size: 32}", "objectives=[{kind: classification}]"]
    settings = load_pretrain(config, other)
    with pytest.raises(ConfigError, match=r"open_clip_model\.safetensors has no weights of these towers"):
        build_parts(settings, World(), origin=find_origin(str(settings.init)))


@pytest.mark.parametrize("model", ["vit, quick_gelu", "resnet", "timm inside, custom text"])
@pytest.mark.parametrize("adaptation", ADAPTATIONS, ids=lambda tree: tree["kind"])
def test_every_adaptation_learns_on_from_it(adaptation: dict, model: str, toy_config: ConfigWriter, tmp_path: Path):
    save_folder(tmp_path / "hub", make(MODELS[model]), MODELS[model])
    config = toy_config(
        "task",
        init=f"local-dir:{tmp_path / 'hub'}",
        adaptation=adaptation,
        objectives=[{"kind": "contrastive"}, {"kind": "classification"}],
        evaluation=[{"kind": "classification", "split": "val"}],
        train__steps=4,
    )
    before = dict(started(config).module.state_dict())
    run = pretrain(config, [], "auto", QUIET)
    after = load_tensors(run.checkpoints / "step_00000004" / "weights.safetensors")
    moved = {name for name in after if name in before and not torch.equal(before[name], after[name])}
    inside = {name for name in moved if name.startswith("model.")}
    lowest = "model.text.embedding.position_LD"
    match adaptation["kind"]:
        case "probe":
            assert not inside
        case "last_k":
            assert "model.text.blocks.1.mlp.input.weight" in inside
            assert not any(name.startswith("model.text.blocks.0.") for name in inside)
        case "full":
            assert {lowest, "model.text.blocks.0.mlp.input.weight"} <= inside
        case "gradual":
            assert "model.text.blocks.1.mlp.input.weight" in inside
            assert lowest not in inside
        case "lora":
            assert any(name.endswith("down_RI") or name.endswith("up_OR") for name in after)
    assert any(name.startswith("objectives.1.") for name in moved)


def test_its_checkpoints_name_the_file_and_go_on_without_it(folder: Path, toy_config: ConfigWriter, tmp_path: Path):
    given = {"init": f"local-dir:{folder}", "train__save_every": 3}
    whole = pretrain(toy_config("whole", **given), [], "auto", QUIET)
    cut = pretrain(toy_config("cut", **given), [], "auto", QUIET)
    start = json.loads((cut.checkpoints / "step_00000003" / "start.json").read_text())
    assert start["origin"] == str(folder / "open_clip_model.safetensors")
    last = cut.checkpoints / "step_00000006"
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    cut.complete.unlink()
    folder.rename(tmp_path / "gone")
    pretrain(tmp_path / "cut.yaml", [], "auto", QUIET)
    one, other = (load_tensors(run.checkpoints / "step_00000006" / "weights.safetensors") for run in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert evaluate(cut.folder, "retrieval", ":val", [], QUIET)["metrics"]
    with pytest.raises(ConfigError, match="init: local-dir:"):
        load_pretrain(toy_config("new", **given))
    with pytest.raises(ConfigError, match="init: local-dir:"):
        mix(cut.folder, 0.5, tmp_path / "mixed", QUIET)


def test_a_run_that_started_from_it_can_be_mixed_with_its_start(folder: Path, toy_config: ConfigWriter, tmp_path: Path):
    run = pretrain(toy_config("tuned", init=f"local-dir:{folder}", evaluation=[]), [], "auto", QUIET)
    mix(run.folder, 0.0, tmp_path / "mixed", QUIET)
    found = load_tensors(Run(tmp_path / "mixed").checkpoints / "step_00000006" / "weights.safetensors")
    theirs = load_file(folder / "open_clip_model.safetensors")
    assert torch.equal(found["model.image.trunk.conv1.weight"], theirs["visual.conv1.weight"])


def test_a_head_begins_as_its_zero_shot_classification(folder: Path, toy_config: ConfigWriter):
    head = [{"kind": "classification", "reads": "features", "start": "zero_shot"}]
    parts = started(toy_config(init=f"local-dir:{folder}", objectives=head, evaluation=[]))
    weights = parts.module.state_dict()["objectives.0.head.1.weight"]
    torch.testing.assert_close(weights.norm(dim=1), torch.full((len(weights),), 1 / 0.07), rtol=1e-4, atol=0)


# -- what is refused


def changed(**more: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(MODELS["vit"]))
    for path, value in more.items():
        *parents, last = path.split("__")
        node = config
        for key in parents:
            node = node[key]
        node[last] = value
    return config


LACKING = {
    "a tower of Hugging Face": (changed(text_cfg__hf_model_name="roberta-base"), "text_cfg.hf_model_name=roberta-base"),
    "another tokenizer": (changed(text_cfg__hf_tokenizer_name="google/mt5"), "text_cfg.hf_tokenizer_name=google/mt5"),
    "another vocabulary": (changed(text_cfg__vocab_size=32000), "text_cfg.vocab_size=32000"),
    "another pooling": (changed(text_cfg__pool_type="last"), "text_cfg.pool_type=last"),
    "a look ahead": (changed(text_cfg__no_causal_mask=True), "text_cfg.no_causal_mask=True"),
    "a bias": (changed(text_cfg__proj_bias=True), "text_cfg.proj_bias=True"),
    "another activation": (changed(text_cfg__act_kwargs={"approximate": "tanh"}), "text_cfg.act_kwargs="),
    "another norm": (changed(text_cfg__norm_kwargs={"eps": 1e-6}), "text_cfg.norm_kwargs="),
    "layer scale": (changed(text_cfg__ls_init_value=0.1), "text_cfg.ls_init_value=0.1"),
    "a decoder": (changed(multimodal_cfg={"layers": 1}), "multimodal_cfg .CoCa's decoder"),
}


@pytest.mark.parametrize("name", LACKING)
def test_what_our_text_tower_has_not_is_refused_by_name(name: str, toy_config: ConfigWriter, tmp_path: Path):
    config, said = LACKING[name]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(ConfigError, match=f"{said}.*take its image tower alone: towers.image=") as refused:
        load_pretrain(toy_config(init=f"local-dir:{tmp_path / 'hub'}"))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("open_clip:ViT-B-32", r"init: open_clip:ViT-B-32 alone has random weights; name a file: init=.*=FILE"),
        ("open_clip:ViT-B-33=a.pt", r"open_clip has no 'ViT-B-33'; did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32=nowhere.pt", r"init: there is no file nowhere\.pt"),
        ("open_clip:ViT-B-16-SigLIP=a.pt", r"text_cfg\.hf_tokenizer_name=timm/ViT-B-16-SigLIP.*name: ViT-B-16-SigLIP,"),
        ("open_clip:coca_ViT-B-32=a.pt", r"multimodal_cfg .CoCa's decoder.*text_cfg\.embed_cls=True"),
        ("open_clip:MobileCLIP-S2=a.pt", r"has text_cfg\.no_causal_mask=True, which our text tower has not"),
        ("local-dir:nowhere", r"open_clip_config\.json cannot be read"),
    ],
)
def test_starts_that_there_are_not_are_named(init: str, said: str, toy_config: ConfigWriter):
    with pytest.raises(ConfigError, match=said):
        load_pretrain(toy_config(init=init))


@pytest.mark.parametrize(
    ("vision", "preprocess", "said"),
    [
        ({"image_size": [48, 64]}, {}, r"looks at pictures of \[48, 64\] px; ours are squares"),
        ({"no_such": 1}, {}, "its open_clip_config.json is no model's: .*no_such"),
        (
            {},
            {"mean": [0.5, 0.4, 0.3]},
            r"normalises pixels by mean \(0\.5, 0\.4, 0\.3\).*openai, imagenet",
        ),
    ],
)
def test_pictures_that_our_towers_cannot_look_at_are_refused(
    vision: dict, preprocess: dict, said: str, folder: Path, toy_config: ConfigWriter
):
    config = {**MODELS[VIT], "vision_cfg": {**MODELS[VIT]["vision_cfg"], **vision}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    with pytest.raises(ConfigError, match=said):
        load_pretrain(toy_config(init=f"local-dir:{folder}"))


def test_a_trunk_that_timm_would_fetch_is_refused(folder: Path, toy_config: ConfigWriter):
    vision = {"timm_model_name": "hf-hub:somebody/something", "image_size": 48}
    config = {**MODELS[VIT], "vision_cfg": vision}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(ConfigError, match="timm_model_name: timm has no 'hf-hub:somebody/something'"):
        started(toy_config(init=f"local-dir:{folder}"))


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("unpickled",)


def test_files_that_would_run_code_or_are_damaged_are_refused_in_one_line(
    tiny: str, toy_config: ConfigWriter, tmp_path: Path, capsys: pytest.CaptureFixture
):
    torch.save({"state_dict": {"logit_scale": torch.ones(1)}, "hook": Evil()}, tmp_path / "evil.pt")
    whole = save_epoch(tmp_path / "whole.pt", make(MODELS[VIT])).read_bytes()
    (tmp_path / "torn.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    for name, said in (("evil.pt", "refused"), ("torn.pt", "refused"), ("torn.safetensors", "cannot be read")):
        with pytest.raises(MmpretrainError, match=said) as refused:
            pretrain(toy_config(init=f"{tiny}={tmp_path / name}"), [], "auto", QUIET)
        assert len(str(refused.value).splitlines()) == 1
    assert "unpickled" not in capsys.readouterr().out
    assert not (tmp_path / "runs" / "toy").exists()


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("vit", None),
        ("resnet", r"is no open_clip:tiny: has no visual\.class_embedding .* tensors are missing\).*left over"),
        ("vit, average, wider", r"has visual\.\S+ as .* instead of"),
    ],
)
def test_another_architecture_is_refused_by_name(
    architecture: str, said: str | None, tiny: str, toy_config: ConfigWriter, tmp_path: Path
):
    save_file(make(MODELS[architecture]).state_dict(), tmp_path / "other.safetensors")
    config = toy_config(init=f"{tiny}={tmp_path / 'other.safetensors'}", evaluation=[])
    if said is None:  # the same tensors with another activation: no file says which
        assert started(config).start.new == []
        return
    with pytest.raises(ConfigError, match=said) as refused:
        started(config)
    assert len(str(refused.value).splitlines()) == 1
