"""What a report is told of its data, in bounded time and whatever single samples are."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.distributed import World
from mmpretrain.core.settings import load
from mmpretrain.data import dataset as dataset_module
from mmpretrain.recipes import data_facts as recipe
from mmpretrain.recipes.assemble import Parts, build_parts
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import Pretrain
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar


def parts_of(config: Path) -> Parts:
    return build_parts(load(Pretrain, config), World())


def test_a_small_split_is_counted_whole(toy_config: ConfigWriter):
    facts = recipe.data_facts(parts_of(toy_config()), {})
    assert facts["counted"] == sum(facts["caption_words"].values()) == facts["splits"]["train"]["samples"] == 48
    assert facts["galleries"] == {"ada": 48}
    assert facts["labels"] == {"red": 12, "green": 12, "blue": 12, "grey": 12}
    assert [shown["key"] for shown in facts["examples"][:3]] == ["ada-0000", "ada-0002", "ada-0004"]
    assert len(facts["examples"]) == recipe.EXAMPLES


def test_of_a_large_split_a_part_is_read_and_only_shown_pictures_are_decoded(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
):
    parts, decoded = parts_of(toy_config()), []
    decode = dataset_module.decode
    monkeypatch.setattr(recipe, "CAPTIONS", 20)
    monkeypatch.setattr(dataset_module, "decode", lambda *given: decoded.append(given) or decode(*given))
    facts = recipe.data_facts(parts, {})
    assert facts["counted"] == sum(facts["caption_words"].values()) == 20
    assert len(decoded) == recipe.EXAMPLES
    assert facts == recipe.data_facts(parts, {})


def test_a_damaged_sample_does_not_stop_a_run(toy_config: ConfigWriter, tmp_path: Path):
    samples = toy_samples(16)
    samples[0]["png"] = b"no picture"
    del samples[1]["json"]
    write_tar(tmp_path / "a.tar", samples)
    write_card(tmp_path, {"train": (["a.tar"], 16)})
    facts = recipe.data_facts(parts_of(toy_config(data__name=str(tmp_path))), {})
    assert sum(facts["caption_words"].values()) == 15
    assert len(facts["examples"]) == 14


def test_texts_that_are_cut_are_counted_and_told_before_the_first_step(toy_config: ConfigWriter):
    assert recipe.cut_texts(parts_of(toy_config())) == ""
    short = toy_config("short", data__tokenizer={"kind": "wordpiece", "context_length": 4, "vocabulary": 100})
    console = Console(record=True, width=200, file=io.StringIO())
    pretrain(short, ["evaluation=[]"], "auto", console)
    dry_run(short, [], console)
    told = "48 of 48 texts are longer than the context of 4 tokens and are cut"
    assert console.export_text().count(told) == 2
