"""Frozen towers that look at each sample once (`towers.cache`): what is kept is what they would say."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar

QUIET = Console(quiet=True)


@pytest.fixture
def origin(toy_config: ConfigWriter) -> Run:
    """A pretrained run of seconds."""
    return pretrain(toy_config("origin", evaluation=[]), [], "auto", QUIET)


def test_a_run_that_resumes_finds_what_its_towers_said(origin: Run, toy_config: ConfigWriter, tmp_path: Path):
    probe = {
        "init": str(origin.folder),
        "objectives": [{"kind": "classification"}],
        "adaptation": {"kind": "probe"},
        "towers__cache": str(tmp_path / "cache"),
        "train__save_every": 3,
        "evaluation": [],
    }
    config = toy_config("probe", **probe)
    run = pretrain(config, [], "auto", QUIET)
    last, kept = run.checkpoints / "step_00000006", sorted((tmp_path / "cache").iterdir())
    whole = load_tensors(last / "weights.safetensors")
    shutil.rmtree(last)
    run.complete.unlink()
    pretrain(config, [], "auto", QUIET)
    again = load_tensors(last / "weights.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert sorted((tmp_path / "cache").iterdir()) == kept, "nothing was computed again"
    assert len(kept) == 1


FROZEN = {
    "towers__image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen", "frozen_blocks": "all"},
    "towers__text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2, "frozen_blocks": "all"},
    "evaluation": [],
}


@pytest.fixture
def bilingual(tmp_path: Path) -> Path:
    """Samples whose caption is the English one of two."""
    folder = tmp_path / "bilingual"
    folder.mkdir()
    words = {"red": "rot", "green": "gelb", "blue": "blau", "grey": "grau"}
    samples = toy_samples(24)
    for sample in samples:
        english = sample["txt"].decode()
        facts = {"captions": {"en": english, "de": f"ein {words[english.split()[1]]}"}}
        sample["json"] = json.dumps(facts).encode()
    write_tar(folder / "train.tar", samples)
    none = {"text_group": None, "gallery": None, "label": None, "classes": []}
    write_card(folder, {"train": (["train.tar"], 24)}, captions="captions", **none)
    return folder


def test_a_frozen_text_tower_reads_the_captions_that_the_steps_read(
    toy_config: ConfigWriter, bilingual: Path, tmp_path: Path
):
    data = {"data__name": str(bilingual), "data__augmentation": {"crop": [1.0, 1.0]}}
    tokens = {"kind": "wordpiece", "context_length": 12, "vocabulary": 200}
    given = {**FROZEN, **data, "data__tokenizer": tokens}
    kept = {}
    for language in ("de", "en"):
        captions = {"data__captions": {"languages": [language]}}
        cache = {"towers__cache": str(tmp_path / "cache")}  # one folder for both
        losses = []
        for name, more in (("steps", {}), ("kept", cache)):
            run = pretrain(toy_config(f"{name}-{language}", **given, **captions, **more), [], "auto", QUIET)
            losses.append([record["loss"] for record in read_json_lines(run.metrics)])
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        kept[language] = losses[1]
    assert kept["de"] != pytest.approx(kept["en"], rel=1e-3)


def test_captions_that_change_from_step_to_step_are_refused(toy_config: ConfigWriter, bilingual: Path, tmp_path: Path):
    given = {**FROZEN, "data__name": str(bilingual), "data__captions": {"pick": "random"}}
    cache = {"towers__cache": str(tmp_path / "cache")}
    config = toy_config("random", **given, **cache)
    with pytest.raises(ConfigError, match=r"towers.cache: keeps one text .* data.captions.pick=random reads another"):
        pretrain(config, [], "auto", QUIET)
    given["towers__text"] = {**FROZEN["towers__text"], "frozen_blocks": 0}
    pretrain(toy_config("learning", **given, **cache), [], "auto", QUIET)
