"""Tars of one name with samples of equal keys in several folders, as img2dataset leaves them: each is told apart."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import DataError
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.uids import by_name, read_uids, write_uids
from tests.conftest import write_card, write_tar
from tests.data.test_duplicates import drawing

A, B, C = (f"{folder}/00000.tar" for folder in "abc")
SEEDS = {A: (0, 1, 2, 3), B: (4, 1, 5, 6), C: (7, 4)}
"""What is drawn: b repeats a's second picture, c b's first."""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a and b to train on, c to test with."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    for name, seeds in SEEDS.items():
        (folder / name).parent.mkdir(parents=True)
        samples = [
            {"__key__": f"{number:04d}", "png": drawing(seed), "txt": f"{name} {number}".encode()}
            for number, seed in enumerate(seeds)
        ]
        write_tar(folder / name, samples)
    splits = {"train": ([A, B], 8), "test": ([C], 2)}
    write_card(folder, splits, text_group=None, label=None, classes=[], gallery=None)
    return folder


def facts_of(*arguments: object) -> dict:
    answer = CliRunner().invoke(cli, ["data", *map(str, arguments), "--json"])
    assert answer.exception is None, answer.output
    return json.loads(answer.stdout)


def captions(folder: Path, split: str = "train") -> list[str]:
    return [sample.caption for sample in Dataset(str(folder), split).samples()]


def test_the_list_of_what_to_keep_says_which_of_two_it_means(folders: Path, tmp_path: Path):
    facts = facts_of("dedup", folders)
    kept = {(name, f"{number:04d}") for name, seeds in SEEDS.items() for number in range(len(seeds))}
    kept -= {(B, "0001"), (B, "0000")}  # the one gives way to a's, the other to what is held out
    assert read_uids(Path(facts["keep_list"])) == kept
    near = [json.loads(line) for line in Path(facts["groups"]).read_text().splitlines() if '"near"' in line]
    named = {frozenset((member["shard"], member["key"]) for member in group["members"]) for group in near}
    assert named == {frozenset({(A, "0001"), (B, "0001")}), frozenset({(B, "0000"), (C, "0001")})}

    filtered = facts_of("filter", folders, "--keep", "list", f"list.file={facts['keep_list']}", "--out", "./clean")
    assert filtered["kept"] == 6
    assert captions(tmp_path / "clean") == [f"{A} {n}" for n in range(4)] + [f"{B} {n}" for n in (2, 3)]


def test_a_list_that_a_filter_writes_is_read_back_as_it_was_meant(folders: Path):
    (folders / "words.txt").write_text("b")
    facts_of("filter", folders, "--keep", "text_based", "text_based.words=data/words.txt", "--uids", "kept.tsv")
    assert read_uids(Path("kept.tsv")) == {(B, f"{number:04d}") for number in range(4)}
    facts_of("filter", folders, "--keep", "list", "list.file=kept.tsv", "--out", "./again")
    assert captions(Path("again")) == [f"{B} {number}" for number in range(4)]


def test_no_sample_is_lost_or_doubled_when_all_are_split_anew(folders: Path):
    facts_of("split", folders, "--out", "./new", "--val", "0.2", "--test", "0.2")
    found = [caption for split in ("train", "val", "test") for caption in captions(Path("new"), split)]
    assert sorted(found) == sorted(f"{name} {number}" for name, seeds in SEEDS.items() for number in range(len(seeds)))


def test_what_stands_in_training_is_named_with_its_shard(folders: Path):
    facts = facts_of("contamination", f"{folders}:train", f"{folders}:test")
    (found,) = (json.loads(line) for line in Path(facts["file"]).read_text().splitlines() if '"pixels"' in line)
    assert found["sample"] == {"split": "test", "shard": C, "key": "0001"}
    assert found["in"] == {"split": "train", "shard": B, "key": "0000"}


def test_a_missing_and_a_damaged_shard_are_named_by_their_folders(folders: Path):
    (folders / B).write_bytes((folders / B).read_bytes()[:3000])
    answer = CliRunner().invoke(cli, ["data", "check", str(folders), "--json"])
    places = {problem["where"] for problem in json.loads(answer.stdout)["problems"]}
    assert B in places
    (folders / B).unlink()
    with pytest.raises(DataError, match=f"first {B}"):
        Dataset(str(folders), "train")


def test_lists_of_file_names_alone_are_read_while_they_are_clear(folders: Path, tmp_path: Path):
    shards = {"a/1.tar": "1.tar", "b/1.tar": "1.tar", "b/2.tar": "2.tar", "3.tar": "3.tar", "c/3.tar": "3.tar"}
    listed = {("2.tar", "k"), ("3.tar", "k"), ("b/1.tar", "k"), ("other.tar", "k")}
    assert by_name(listed, shards, "x") == {("b/2.tar", "k"), ("3.tar", "k"), ("b/1.tar", "k"), ("other.tar", "k")}
    with pytest.raises(DataError, match=r"x: 1\.tar may be a/1\.tar or b/1\.tar"):
        by_name({("1.tar", "k")}, shards, "x")
    write_uids(tmp_path / "old.tsv", [("00000.tar", "0001")])
    answer = CliRunner().invoke(
        cli, ["data", "filter", str(folders), "--keep", "list", "list.file=old.tsv", "--out", "./x"]
    )
    assert "00000.tar may be a/00000.tar or b/00000.tar or c/00000.tar" in str(answer.exception)
