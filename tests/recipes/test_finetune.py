"""Runs that start from another run: what they take over, what learns, and that they resume like any other."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.recipes.assemble import build_parts
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import load_pretrain
from mmpretrain.recipes.starts.mix import mix, origin_of
from mmpretrain.recipes.starts.origin import find_origin
from mmpretrain.recipes.starts.start import kept_start
from mmpretrain.towers.image import TimmImage
from tests.conftest import COLOURS, ConfigWriter, toy_samples, write_card, write_tar

QUIET = Console(quiet=True)
CLASSIFICATION = [{"kind": "classification"}]


def weights(run: Run, step: int = 6) -> dict[str, torch.Tensor]:
    return load_tensors(run.checkpoints / f"step_{step:08d}" / "weights.safetensors")


@pytest.fixture
def origin(toy_config: ConfigWriter) -> Run:
    """A pretrained run of seconds."""
    return pretrain(toy_config("origin", evaluation=[]), [], "auto", QUIET)


def task(toy_config: ConfigWriter, name: str, origin: Run | None, **more: object) -> Path:
    given = {"objectives": CLASSIFICATION, "evaluation": [], **more}
    return toy_config(name, **given, **({"init": str(origin.folder)} if origin else {}))


def test_a_run_takes_towers_tokenizer_and_weights_of_the_one_it_starts_from(origin: Run, toy_config: ConfigWriter):
    other = {"kind": "timm", "name": "test_vit", "size": 32}  # the origin's towers stand instead
    run = pretrain(
        task(toy_config, "task", origin, towers__image=other, train__steps=1, optim__schedule__warmup=0),
        [],
        "auto",
        QUIET,
    )
    config = load_pretrain(run.config)
    assert config.towers.image.name == "test_resnet"
    before, after = weights(origin), weights(run, 1)
    start = json.loads((run.checkpoints / "step_00000001" / "start.json").read_text())
    # one step of warmup moves weights by little, those of heads by more than nothing
    for name in start["started"]:
        torch.testing.assert_close(after[name], before[name], atol=2e-3, rtol=0)
    assert all(name.startswith("objectives.0.") for name in start["new"])
    assert any(name.startswith("model.text.") for name in start["left_out"])
    tokenizers = [each.checkpoints / f"step_{step:08d}" / "tokenizer.json" for each, step in ((origin, 6), (run, 1))]
    assert tokenizers[0].read_text() == tokenizers[1].read_text()


@pytest.mark.parametrize(
    "adaptation",
    [
        {"kind": "probe"},
        {"kind": "last_k", "blocks": 2, "rate": 0.1},
        {"kind": "full", "rate": 0.1, "layer_decay": 0.7},
        {"kind": "gradual", "every": 2},
        {"kind": "lora", "rank": 2},
    ],
    ids=lambda tree: tree["kind"],
)
def test_every_adaptation_resumes_bit_for_bit(adaptation: dict, origin: Run, toy_config: ConfigWriter):
    whole = pretrain(task(toy_config, "whole", origin, adaptation=adaptation), [], "auto", QUIET)
    config = task(toy_config, "cut", origin, adaptation=adaptation, train__save_every=3)
    cut = pretrain(config, [], "auto", QUIET)
    for folder in cut.checkpoints.glob("step_00000006"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    cut.complete.unlink()
    pretrain(config, [], "auto", QUIET)
    one, other = weights(whole), weights(cut)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_probe_leaves_features_as_they_were(origin: Run, toy_config: ConfigWriter):
    faster = {"adaptation": {"kind": "probe"}, "optim__schedule__rate": 0.05}
    run = pretrain(task(toy_config, "probe", origin, **faster), [], "auto", QUIET)
    before, after = weights(origin), weights(run)
    same = [name for name in after if name.startswith("model.image.")]
    assert same
    assert all(torch.equal(before[name], after[name]) for name in same)
    losses = [record["classification/loss"] for record in read_json_lines(run.metrics)]
    assert losses[-1] < losses[0]


def test_a_probe_with_nothing_new_to_learn_is_refused(origin: Run, toy_config: ConfigWriter):
    config = task(toy_config, "idle", origin, objectives=[{"kind": "contrastive"}], adaptation={"kind": "probe"})
    with pytest.raises(ConfigError, match="adaptation: probe leaves nothing to learn; add a head, or use last_k or lo"):
        pretrain(config, [], "auto", QUIET)
    assert not Run(config.parent / "runs" / "idle").folder.exists()


def test_blocks_that_have_not_thawed_stand_still(origin: Run, toy_config: ConfigWriter):
    run = pretrain(task(toy_config, "slow", origin, adaptation={"kind": "gradual", "every": 100}), [], "auto", QUIET)
    before, after = weights(origin), weights(run)
    assert all(torch.equal(before[name], after[name]) for name in after if name.startswith("model.image."))


def test_a_run_that_learned_low_rank_changes_can_be_started_from(origin: Run, toy_config: ConfigWriter):
    first = pretrain(task(toy_config, "lora", origin, adaptation={"kind": "lora", "rank": 2}), [], "auto", QUIET)
    second = pretrain(task(toy_config, "next", first, train__steps=1, optim__schedule__warmup=0), [], "auto", QUIET)
    assert not any("parametrizations" in name for name in weights(second, 1))
    start = json.loads((second.checkpoints / "step_00000001" / "start.json").read_text())
    assert start["new"] == []


def test_a_start_that_is_no_run_is_refused_in_one_line(toy_config: ConfigWriter, tmp_path: Path):
    with pytest.raises(ConfigError, match="init: nowhere is no run folder; give one, or RUN/checkpoints/step_X"):
        load_pretrain(task(toy_config, "lost", None, init="nowhere"))


def test_labels_that_the_card_does_not_name_are_refused(toy_config: ConfigWriter, passages: Path):
    config = task(toy_config, "unlabelled", None, data__name=str(passages))
    with pytest.raises(ConfigError, match="classification"):
        pretrain(config, [], "auto", QUIET)


def test_zero_shot_is_where_a_head_begins(origin: Run, toy_config: ConfigWriter):
    head = [{"kind": "classification", "reads": "features", "start": "zero_shot"}]
    run = pretrain(
        task(toy_config, "wise", origin, objectives=head, train__steps=1, optim__schedule__warmup=0), [], "auto", QUIET
    )
    found = weights(run, 1)["objectives.0.head.1.weight"]
    scale = weights(origin)["objectives.0.log_scale"].exp()
    torch.testing.assert_close(found.norm(dim=1), scale.expand(len(found)), atol=0.1, rtol=0)


def test_zero_shot_begins_with_the_classes_of_the_heads_own_source(
    origin: Run, toy_config: ConfigWriter, shapes: Path, tmp_path: Path
):
    other = shutil.copytree(shapes, tmp_path / "other" / "shapes")  # of the same name, as a copy may be
    splits = {"train": (["train-{00000..00002}.tar"], 48), "val": (["val-00000.tar"], 13)}
    write_card(other, splits, classes=list(COLOURS)[::-1])
    head = {"kind": "classification", "reads": "features", "start": "zero_shot"}

    def rows(name: str, objectives: list[dict], sources: list[Path]) -> torch.Tensor:
        data = {**toy_data, "sources": [{"name": str(each)} for each in sources]}
        config = load_pretrain(task(toy_config, name, origin, data=data, objectives=objectives))
        module = build_parts(config, World(), origin=find_origin(str(config.init))).module
        return module.objectives[-1].head[-1].weight

    toy_data = {"batch": 12, "workers": 0}
    mixed = [{"kind": "contrastive"}, {**head, "sources": [str(other)]}]
    alone = rows("alone", [head], [shapes])
    assert not torch.equal(alone, alone.flip(0))
    assert torch.equal(rows("mixed", mixed, [shapes, other]), alone.flip(0))
    with pytest.raises(ConfigError, match=r"objectives.0: .* have other classes; name one of them in obj"):
        rows("both", [head], [shapes, other])


def test_zero_shot_of_several_classes_a_picture_is_refused(origin: Run, toy_config: ConfigWriter, tmp_path: Path):
    write_tar(tmp_path / "train.tar", [{**each, "json": b'{"colours": ["red"]}'} for each in toy_samples(16)])
    write_card(tmp_path, {"train": (["train.tar"], 16)}, label=None, labels="colours", text_group=None, gallery=None)
    head = [{"kind": "classification", "reads": "features", "start": "zero_shot"}]
    config = task(toy_config, "several", origin, data__name=str(tmp_path), objectives=head)
    with pytest.raises(ConfigError, match="start: zero_shot finds one class a picture, and the card gives it several"):
        pretrain(config, [], "auto", QUIET)


def test_data_may_be_named_in_one_word(toy_config: ConfigWriter, shapes: Path):
    config = load_pretrain(toy_config("short", data__name="emoji"), [f"data={shapes}"])
    assert config.data.name == str(shapes)


def test_a_mixture_stands_between_start_and_end(origin: Run, toy_config: ConfigWriter, tmp_path: Path):
    head = [{"kind": "classification", "reads": "features", "start": "zero_shot"}]
    run = pretrain(task(toy_config, "wise", origin, objectives=head), [], "auto", QUIET)
    found = {}
    for share in (0.0, 0.5, 1.0):
        mix(run.folder, share, tmp_path / f"mix{share}", QUIET)
        found[share] = weights(Run(tmp_path / f"mix{share}"))
    before, after = weights(origin), weights(run)
    for name, tensor in after.items():
        assert torch.equal(found[1.0][name], tensor)
        if name in before and name.startswith("model."):
            assert torch.equal(found[0.0][name], before[name])
        if tensor.is_floating_point():
            torch.testing.assert_close(found[0.5][name], (found[0.0][name] + tensor) / 2)
    with pytest.raises(ConfigError, match="exists; name another folder"):
        mix(run.folder, 0.5, tmp_path / "mix0.5", QUIET)
    with pytest.raises(ConfigError, match="started from scratch; only a run with init=RUN has a start to mix with"):
        mix(origin.folder, 0.5, tmp_path / "other", QUIET)


def test_a_mixture_is_with_what_its_run_began_with_though_the_origin_has_gone_on(
    toy_config: ConfigWriter, tmp_path: Path
):
    config = toy_config("origin", evaluation=[], train__save_every=3)
    origin = pretrain(config, [], "auto", QUIET)
    shutil.rmtree(origin.checkpoints / "step_00000006")
    origin.complete.unlink()
    run = pretrain(task(toy_config, "early", origin), [], "auto", QUIET)
    pretrain(config, [], "auto", QUIET)
    mix(run.folder, 0.0, tmp_path / "start", QUIET)
    then, now, found = weights(origin, 3), weights(origin, 6), weights(Run(tmp_path / "start"))
    towers = [name for name in found if name.startswith("model.image.") and found[name].is_floating_point()]
    assert all(torch.equal(found[name], then[name]) for name in towers)
    assert not all(torch.equal(found[name], now[name]) for name in towers)
    shutil.rmtree(origin.checkpoints / "step_00000003")
    with pytest.raises(ConfigError, match=r"began with its step 3, and .* is gone; .* init=.*/step_00000006"):
        mix(run.folder, 0.0, tmp_path / "gone", QUIET)
    assert not (tmp_path / "gone").exists()


def test_what_a_run_began_with_is_read_as_earlier_versions_kept_it(origin: Run, tmp_path: Path):
    kept = {"origin": str(origin.folder), "started": ["a"], "new": [], "left_out": []}
    (tmp_path / "start.json").write_text(json.dumps(kept))
    assert origin_of(tmp_path, str(origin.folder), kept_start(tmp_path)).step == 6


def test_a_run_that_began_with_a_file_is_not_said_to_have_started_from_scratch(
    toy_config: ConfigWriter, tmp_path: Path
):
    file = tmp_path / "tower.safetensors"
    save_tensors(file, TimmImage(name="test_resnet", size=32).build().trunk.state_dict())
    run = pretrain(task(toy_config, "file", None, towers__image__weights=str(file)), [], "auto", QUIET)
    with pytest.raises(ConfigError, match=r"began with the weights of .*tower.safetensors; only a run with init=RUN"):
        mix(run.folder, 0.5, tmp_path / "half", QUIET)


def test_settings_that_overfit_or_forget_are_told_and_those_that_do_not_are_not(origin: Run, toy_config: ConfigWriter):
    unchanged = {"data__augmentation": {"crop": [1.0, 1.0]}, "train__steps": 300, "train__log_every": 300}
    told = Console(record=True, width=300, quiet=False, file=io.StringIO())
    config = task(toy_config, "risky", origin, **unchanged, optim__schedule={"rate": 0.002, "warmup": 2})
    dry_run(config, [], told)
    text = told.export_text()
    assert "parameters of the towers learn from 48 samples, which overfits" in text
    assert "each sample is seen 75 times without any augmentation" in text
    assert "a learning rate of 0.002 soon forgets what the run starts from" in text
    calm = Console(record=True, width=300, quiet=False, file=io.StringIO())
    dry_run(task(toy_config, "calm", origin, adaptation={"kind": "probe"}), [], calm)
    assert "overfits" not in calm.export_text()
    assert "forgets" not in calm.export_text()


def test_a_decoder_takes_the_weights_that_it_shared_along(toy_config: ConfigWriter):
    shared = {
        "towers__text": {"kind": "bidirectional", "width": 16, "layers": 2, "heads": 2},
        "towers__fusion": {"start": "embedding", "shares": "text"},
        "towers__decoder": {"start": "embedding", "shares": "fusion", "own_attention": True},
        "objectives": [{"kind": "contrastive"}, {"kind": "matching", "negatives_within": 12}, {"kind": "captioning"}],
        "evaluation": [],
    }
    origin = pretrain(toy_config("blip", **shared), [], "auto", QUIET)
    config = task(toy_config, "captions", origin, objectives=[{"kind": "captioning"}], train__steps=3)
    run = pretrain(config, [], "auto", QUIET)
    start = json.loads((run.checkpoints / "step_00000003" / "start.json").read_text())
    assert start["new"] == []
    assert not any(".text.blocks." in name for name in start["started"])
    before, after = weights(origin), weights(run, 3)
    name = "model.decoder.blocks.1.mlp.input.weight"
    assert name not in before, "stored once, as the text tower's"
    torch.testing.assert_close(after[name], before[name.replace("decoder", "text")], atol=5e-3, rtol=0)
    read = load_pretrain(config, ["objectives.0={kind: matching, negatives_within: 12, scale: 0}", "evaluation=[]"])
    assert read.towers.fusion is not None, "what an objective set by its place asks for is taken over too"
