"""The commands that look at a dataset, on toy data with planted problems."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, DataError, MmpretrainError, QualityError
from mmpretrain.core.settings import load
from mmpretrain.data.loader import training_loader
from mmpretrain.data.training import TrainingData
from mmpretrain.data.uids import read_uids
from mmpretrain.recipes.assemble import build_parts, training_batches
from mmpretrain.recipes.datasets.show import find_view
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import Pretrain
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar
from tests.data.test_duplicates import drawing, lay_out


def invoke(*arguments: str, fails: type[MmpretrainError] | None = None) -> str:
    answer = CliRunner().invoke(cli, ["data", *arguments])
    assert isinstance(answer.exception, fails) if fails else answer.exception is None, answer.output
    return " ".join(answer.output.split())


def facts_of(*arguments: str, fails: type[MmpretrainError] | None = None) -> dict:
    return json.loads(invoke(*arguments, "--json", fails=fails))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def leaky(tmp_path: Path) -> str:
    """Twelve drawings to train on; of four to test with one is a copy, one a smaller copy, one has an old caption."""
    train = [(drawing(seed), f"drawing {seed}") for seed in range(12)]
    test = [(drawing(2), "a copy"), (drawing(4, 64), "smaller"), (drawing(50), "drawing 7"), (drawing(51), "new")]
    (tmp_path / "leaky").mkdir()
    return lay_out(tmp_path / "leaky", train=train, test=test)


class TestDedup:
    def test_copies_are_dropped_from_train_and_groups_are_listed(self, leaky: str):
        facts = facts_of("dedup", leaky)
        assert {kind: row["groups"] for kind, row in facts["kinds"].items()} == {
            "bytes": 1,
            "pixels": 1,
            "near": 2,
            "caption": 1,
        }
        assert facts["kinds"]["near"]["across_splits"] == 2
        assert facts["splits"] == {"test": {"samples": 4, "kept": 4}, "train": {"samples": 12, "kept": 10}}
        assert len(read_uids(Path(facts["keep_list"]))) == facts["kept"] == 14
        groups = [json.loads(line) for line in Path(facts["groups"]).read_text().splitlines()]
        near = [[member["key"] for member in group["members"]] for group in groups if group["kind"] == "near"]
        assert near == [["test0", "train2"], ["test1", "train4"]]
        assert groups[0]["members"][0] == {"split": "test", "shard": "test.tar", "key": "test0"}

    def test_the_table_ends_with_file_share_and_next_command(self, leaky: str):
        output = invoke("dedup", leaky, "--out", "list.tsv")
        assert "list.tsv: 14 samples to keep, 12.5 % are copies of them" in output
        assert "next: mmpretrain data filter" in output

    def test_damaged_samples_are_told(self, tmp_path: Path):
        name = lay_out(tmp_path, train=[(drawing(1), "a"), (b"no picture", "b"), (drawing(2), "c")])
        assert "left out: 1 damaged sample, first train.tar: train1: unknown_image" in invoke("dedup", name)
        split = ("split", name, "--out", str(tmp_path / "new"), "--test", "0.5", "--val")
        invoke(*split, "0.1", fails=DataError)  # a tenth of two is none
        assert "left out: 1 damaged sample" in invoke(*split, "0")


class TestSplit:
    def test_what_leaked_no_longer_does(self, leaky: str, tmp_path: Path):
        facts = facts_of("split", leaky, "--out", str(tmp_path / "new"), "--val", "0.2", "--test", "0.2")
        assert {name: row["samples"] for name, row in facts["splits"].items()} == {"train": 10, "val": 3, "test": 3}
        checked = facts_of("check", str(tmp_path / "new"))
        assert (checked["errors"], checked["warnings"]) == (0, 0)

    def test_one_group_of_everything_cannot_be_split(self, tmp_path: Path):
        name = lay_out(tmp_path, train=[(drawing(seed), "a photo") for seed in range(5)])
        arguments = ("split", name, "--out", str(tmp_path / "new"), "--val", "0.2", "--test", "0.2")
        invoke(*arguments, fails=DataError)
        assert not (tmp_path / "new").exists()
        assert facts_of(*arguments, "--without", "caption")["splits"]["test"]["samples"] == 1

    def test_what_exists_is_refused_before_the_work(self, leaky: str):
        invoke("split", leaky, "--out", leaky, fails=ConfigError)


class TestCheck:
    def test_leaks_are_errors_and_near_ones_warnings(self, leaky: str):
        answer = CliRunner().invoke(cli, ["data", "check", leaky, "--json"])
        assert isinstance(answer.exception, DataError)
        problems = {p["kind"]: p for p in json.loads(answer.stdout)["problems"]}
        assert set(problems) == {"leak_picture", "leak_text", "near_picture", "near_caption"}
        assert problems["leak_picture"]["examples"] == ["test.tar: test0"]
        assert problems["leak_text"]["examples"] == ["test.tar: test2"]
        assert problems["near_picture"]["count"] == 2
        assert {kind for kind, problem in problems.items() if problem["warning"]} == {"near_picture", "near_caption"}

    def test_every_problem_is_named_at_once(self, tmp_path: Path):
        samples = toy_samples(12)
        samples[1]["png"] = b"no picture"
        samples[2]["png"] = samples[2]["png"][:70]
        del samples[3]["txt"]
        write_tar(tmp_path / "a.tar", samples)
        write_tar(tmp_path / "b.tar", toy_samples(2))
        (tmp_path / "c.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:3000])
        write_tar(tmp_path / "unused.tar", toy_samples(2))
        splits = {"train": (["a.tar", "b.tar"], 13), "val": (["c.tar"], 4), "test": (["gone.tar"], 1)}
        write_card(tmp_path, splits, classes=["red", "green", "blue", "grey", "mauve"])
        found = facts_of("check", str(tmp_path), fails=DataError)
        named = {(problem["kind"], problem["where"], problem["count"]) for problem in found["problems"]}
        assert named == {
            ("missing_shard", "test", 1),
            ("unused_shard", "dataset.yaml", 1),
            ("damaged_shard", "c.tar", 1),
            ("wrong_count", "train", 1),
            ("key_twice", "train", 2),
            ("unknown_image", "train", 1),
            ("damaged_image", "train", 1),
            ("missing_member", "train", 1),
            ("class_without_samples", "dataset.yaml", 1),
        }
        assert found["errors"] == 6

    def test_sound_data_passes_and_says_what_was_looked_at(self, tmp_path: Path):
        name = lay_out(tmp_path, train=[(drawing(1), "a"), (drawing(2), "b")], val=[(drawing(3), "c")])
        output = invoke("check", name)
        assert ":train: 2 samples, checksums right, all decoded" in output
        assert "0 errors, 0 warnings. next: mmpretrain data stats" in output

    def test_questions_may_stand_in_every_split_and_pictures_may_not(self, tmp_path: Path):
        def asked(key: str, seed: int, answer: str) -> dict:
            facts = json.dumps({"answer": answer}).encode()
            return {"__key__": key, "png": drawing(seed), "txt": b"is it red?", "json": facts}

        write_tar(tmp_path / "train.tar", [asked("a", 1, "yes"), asked("b", 2, "no")])
        write_tar(tmp_path / "test.tar", [asked("c", 3, "maybe")])
        splits = {"train": (["train.tar"], 2), "test": (["test.tar"], 1)}
        more = {"text_group": None, "gallery": None, "answers": "answer", "label": "answer", "classes": ["yes", "no"]}
        write_card(tmp_path, splits, **more)
        output = invoke("check", str(tmp_path))
        assert ": no picture of train, val or test stands in another of them" in output
        assert "answer_outside, dataset.yaml: test.tar: c" in output
        write_tar(tmp_path / "test.tar", [asked("c", 2, "yes")])
        invoke("index", str(tmp_path))
        problems = facts_of("check", str(tmp_path), fails=DataError)["problems"]
        assert {problem["kind"] for problem in problems if not problem["warning"]} == {"leak_picture"}

    def test_without_imagehash_it_says_what_it_does_not_look_for(self, leaky: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "imagehash", None)
        answer = CliRunner().invoke(cli, ["data", "check", leaky])
        assert isinstance(answer.exception, DataError)
        assert "near-duplicates are not looked for" in answer.output
        assert "near_picture" not in answer.output
        assert facts_of("stats", leaky)["copies"] == {}
        invoke("dedup", leaky, fails=ConfigError)

    def test_a_changed_shard_is_found_by_its_digest(self, tmp_path: Path):
        name = lay_out(tmp_path, train=[(drawing(1), "a")])
        facts_of("check", name)
        raw = bytearray((tmp_path / "train.tar").read_bytes())
        raw[600] ^= 1
        (tmp_path / "train.tar").write_bytes(bytes(raw))
        kinds = {problem["kind"] for problem in facts_of("check", name, fails=DataError)["problems"]}
        assert kinds == {"damaged_shard"}


class TestContamination:
    def test_copies_near_ones_and_captions_are_counted_and_named(self, leaky: str):
        facts = facts_of("contamination", f"{leaky}:train", f"{leaky}:test")
        counts = {kind: row["samples"] for kind, row in facts["kinds"].items()}
        assert counts == {"bytes": 1, "pixels": 1, "near": 2, "caption": 1}
        assert facts["share"] == 0.5
        lines = [json.loads(line) for line in Path(facts["file"]).read_text().splitlines()]
        assert [(line["kind"], line["sample"]["key"], line["in"]["key"]) for line in lines] == [
            ("bytes", "test0", "train2"),
            ("pixels", "test0", "train2"),
            ("near", "test0", "train2"),
            ("near", "test1", "train4"),
            ("caption", "test2", "train7"),
        ]

    def test_copies_within_the_evaluation_are_none_of_its_business(self, tmp_path: Path):
        name = lay_out(tmp_path, train=[(drawing(1), "a")], test=[(drawing(2), "b"), (drawing(2, 64), "b")])
        assert facts_of("contamination", f"{name}:train", f"{name}:test")["share"] == 0

    def test_a_gate_is_missed_with_code_4(self, leaky: str):
        arguments = ("contamination", f"{leaky}:train", f"{leaky}:test", "--fail-over")
        assert "50.00 % of 4 pictures" in invoke(*arguments, "0.5")
        invoke(*arguments, "0.49", fails=QualityError)

    def test_a_split_is_not_compared_with_itself(self, leaky: str):
        invoke("contamination", leaky, f"{leaky}:test", fails=ConfigError)


class TestShow:
    def test_it_is_the_batch_that_training_gets(self, toy_config: ConfigWriter):
        config = load(Pretrain, toy_config(train__micro_batches=2))
        parts = build_parts(config, World())
        trained = next(training_batches(parts, 5))
        view = find_view(str(toy_config()), dict.fromkeys(("batch", "seed", "size")))
        shown = next(training_loader(TrainingData(view.data), parts.tokenizer, view.size, World(), 1, 5))[0]
        assert torch.equal(torch.cat([batch.images_BCHW for batch in trained]), shown.images_BCHW)
        rows = facts_of("show", str(toy_config()), "--step", "5")["rows"]
        assert [row["key"] for row in rows] == [key for batch in trained for key in batch.keys]
        assert [row["position"] for row in rows] == list(range(60, 72))
        assert rows[0]["caption"].startswith("a ")

    def test_ranks_share_one_batch_in_order(self, shapes: Path):
        arguments = ("show", str(shapes), "--step", "2", "--batch", "12", "--size", "32")
        alone, shared = facts_of(*arguments), facts_of(*arguments, "--ranks", "3")
        assert [row["key"] for row in alone["rows"]] == [row["key"] for row in shared["rows"]]
        assert [row["rank"] for row in shared["rows"]] == [0] * 4 + [1] * 4 + [2] * 4

    def test_the_sheet_is_a_picture(self, shapes: Path):
        output = invoke("show", f"{shapes}:val", "--batch", "10", "--size", "32", "--out", "a/sheet.png", "--most", "6")
        assert "a/sheet.png: 6 of the 10 rows of step 0" in output
        assert np.asarray(Image.open("a/sheet.png")).std() > 10

    def test_what_a_config_decides_is_no_option(self, toy_config: ConfigWriter):
        invoke("show", str(toy_config()), "--batch", "3", fails=ConfigError)
        invoke("show", "no-such.yaml", fails=ConfigError)

    def test_replaced_samples_say_what_they_stand_in_for(self, tmp_path: Path):
        pictures = [drawing(seed) if seed != 2 else b"no picture" for seed in range(6)]
        name = lay_out(tmp_path, train=[(picture, f"{number}") for number, picture in enumerate(pictures)])
        rows = facts_of("show", name, "--batch", "6", "--size", "32")["rows"]
        (replaced,) = [row for row in rows if "stands_in_for" in row]
        assert replaced["stands_in_for"]["key"] == "train2"
        assert replaced["key"] != "train2"


class TestStats:
    def test_counts_of_all_and_of_what_was_drawn_are_told_apart(self, leaky: str):
        facts = facts_of("stats", leaky, "--sample", "6")
        assert (facts["samples"], facts["looked_at"]) == (16, 6)
        assert facts["members"]["png"]["count"] == 16
        assert facts["equal_files"] == {"groups": 1, "surplus": 1}
        assert sum(facts["words"].values()) == sum(facts["languages"].values()) == 6
        page = " ".join(Path(facts["page"]).read_text().split())
        assert "of 6 samples drawn from all 16 with seed 0" in page
        assert page.count("not answered") == 7

    def test_damage_missing_members_and_copies_are_counted(self, tmp_path: Path):
        samples = toy_samples(20)
        samples[1]["png"] = b"no picture"
        del samples[3]["txt"]
        write_tar(tmp_path / "a.tar", samples)
        write_card(tmp_path, {"train": (["a.tar"], 20)}, datasheet={"uses": "Only for tests."}, language="concept")
        facts = facts_of("stats", str(tmp_path))
        assert facts["damage"] == {"unknown_image": 1, "missing_member": 1}
        assert facts["missing"] == {"txt": 1}
        assert facts["languages"]["red square"] == 2
        assert facts["formats"] == {"PNG RGB": 18}
        assert facts["copies"]["caption"] == 2
        assert "Only for tests." in Path(facts["page"]).read_text()
        assert "a.tar" not in invoke("stats", str(tmp_path))

    def test_brackets_of_hostile_data_are_text(self, tmp_path: Path):
        samples = toy_samples(2)
        samples[0]["json"] = json.dumps({**json.loads(samples[0]["json"]), "concept": "[/red] [bold"}).encode()
        write_tar(tmp_path / "a.tar", samples)
        write_card(tmp_path, {"train": (["a.tar"], 2)}, language="concept", title="[/x] toys")
        output = invoke("stats", str(tmp_path))
        assert "[/red] [bold" in output
        assert "[/x] toys" in output

    def test_the_page_is_the_same_every_time(self, leaky: str):
        first = Path(facts_of("stats", leaky, "--page", "a.html")["page"]).read_text()
        assert first == Path(facts_of("stats", leaky, "--page", "b.html")["page"]).read_text()


class TestFilter:
    def test_a_list_of_what_to_keep_becomes_shards_without_copies(self, leaky: str, tmp_path: Path):
        kept = facts_of("dedup", leaky)["keep_list"]
        facts = facts_of("filter", leaky, "--keep", "list", f"list.file={kept}", "--out", str(tmp_path / "clean"))
        assert (facts["samples"], facts["kept"]) == (12, 10)
        assert facts["rules"]["list"]["reasons"] == {"not_listed": 2}
        again = facts_of("contamination", f"{tmp_path / 'clean'}:train", f"{tmp_path / 'clean'}:test")
        assert again["share"] == 0
        assert again["samples"] == 4

    def test_rules_add_up_and_damage_is_dropped(self, tmp_path: Path):
        samples = toy_samples(16)
        samples[0]["png"] = b"no picture"
        write_tar(tmp_path / "a.tar", samples)
        write_card(tmp_path, {"train": (["a.tar"], 16)})
        rules = ("--keep", "basic", "--keep", "text_based", "basic.min_side=16", "basic.min_characters=12")
        facts = facts_of("filter", str(tmp_path), *rules, "--uids", "kept.tsv")
        assert facts["rules"]["damaged"]["reasons"] == {"unknown_image": 1}
        assert facts["rules"]["text_based"]["drops_alone"] == 0
        assert facts["kept"] + sum(row["drops_first"] for row in facts["rules"].values()) == 16
        assert len(read_uids(Path("kept.tsv"))) == facts["kept"] == 10

    def test_a_run_judges_pairs(self, toy_config: ConfigWriter, shapes: Path, tmp_path: Path):
        run = pretrain(toy_config(evaluation=[]), [], "auto", Console(quiet=True)).folder
        score = ("--keep", "clip_score", f"clip_score.run={run}")
        assert facts_of("filter", str(shapes), *score, "clip_score.share=0.25")["share"] >= 0.25
        assert facts_of("filter", f"{shapes}:val", *score, "clip_score.least=-1")["kept"] == 13
        invoke("filter", str(shapes), "--keep", "clip_score", f"clip_score.run={tmp_path}", fails=ConfigError)

    def test_lists_for_datacomp_need_its_identifiers(self, tmp_path: Path):
        samples = toy_samples(4)
        for number, sample in enumerate(samples):
            sample["json"] = json.dumps({**json.loads(sample["json"]), "uid": f"{9 - number:032x}"}).encode()
        write_tar(tmp_path / "a.tar", samples)
        write_card(tmp_path, {"train": (["a.tar"], 4)})
        invoke("filter", str(tmp_path), "--keep", "text_based", "--uids", "kept.npy")
        assert np.load("kept.npy").tolist() == [(0, 6), (0, 7), (0, 8), (0, 9)]

    def test_rules_that_keep_nothing_are_told_so(self, shapes: Path):
        invoke("filter", str(shapes), "--keep", "basic", fails=DataError)
        invoke("filter", str(shapes), "--keep", "text_based", "--uids", "kept.npy", fails=DataError)
