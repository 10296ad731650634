"""Shards that nobody has indexed: in sight, by several processes, and not for hours while other ranks wait."""

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core import parallel
from mmpretrain.core.errors import DataError
from mmpretrain.data import indexing
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.manifest import read_manifest
from mmpretrain.recipes.datasets.index import index, index_on_first_use
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar

QUIET = Console(quiet=True)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """48 samples to train on in four shards, and 13 to evaluate with; no index, no manifest."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    samples = toy_samples(48)
    for number in range(4):
        write_tar(folder / f"train-{number}.tar", samples[number * 12 : number * 12 + 12])
    write_tar(folder / "val.tar", toy_samples(13, "bob"))
    write_card(folder, {"train": (["train-{0..3}.tar"], 48), "val": (["val.tar"], 13)})
    return folder


def wanted(folder: Path, *splits: str) -> list[tuple[str, str]]:
    return [(str(folder), split) for split in splits or ("train", "val")]


def test_a_run_indexes_what_it_trains_and_evaluates_on_and_says_so_once(foreign: Path, toy_config: ConfigWriter):
    for name, times in (("first", 1), ("second", 0)):
        said = io.StringIO()
        config = toy_config(name, data__name=str(foreign), train__steps=3)
        pretrain(config, [], "auto", Console(file=said, width=500))
        assert said.getvalue().count("first use, indexing 5 shards") == times
    assert len(read_manifest(foreign)) == len(list(foreign.glob("*.index"))) == 5


def test_a_terminal_shows_a_bar(foreign: Path):
    said = io.StringIO()
    index_on_first_use(wanted(foreign), None, Console(file=said, force_terminal=True, width=100))
    assert "indexing" in said.getvalue()
    assert "100%" in said.getvalue()


def test_several_processes_find_what_one_finds(foreign: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    monkeypatch.setattr(parallel, "processors", lambda: 2)
    index_on_first_use(wanted(foreign), None, QUIET)
    found = read_manifest(foreign)
    for path in (*foreign.glob("*.index"), foreign / "manifest.json"):
        path.unlink()
    assert [len(Dataset(*pair)) for pair in wanted(foreign)] == [48, 13]
    assert read_manifest(foreign) == found


def test_only_what_is_wanted_and_unknown_is_read(foreign: Path):
    Dataset(str(foreign), "train")
    (foreign / "train-1.tar").write_bytes(b"never read")
    index_on_first_use(wanted(foreign, "train"), None, QUIET)
    assert not (foreign / "val.tar.index").exists()


def test_ranks_do_not_wait_for_more_than_they_have_patience(foreign: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(indexing, "MOST_WHILE_RANKS_WAIT", 10_000)
    with pytest.raises(DataError, match=rf"while 2 ranks wait; first run `mmpretrain data index {foreign}`"):
        index_on_first_use(wanted(foreign), None, QUIET, ranks=2)
    assert not list(foreign.glob("*.index"))
    index(str(foreign), QUIET)
    index_on_first_use(wanted(foreign), None, QUIET, ranks=2)


def test_one_process_alone_may_take_its_time(foreign: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(indexing, "MOST_WHILE_RANKS_WAIT", 10_000)
    index_on_first_use(wanted(foreign), None, QUIET)
    assert len(read_manifest(foreign)) == 5


def test_every_damaged_shard_is_named_and_salvaging_leaves_them_to_the_dataset(foreign: Path):
    for name in ("train-0.tar", "train-2.tar"):
        (foreign / name).write_bytes((foreign / name).read_bytes()[:9000])
    with pytest.raises(DataError) as caught:
        index_on_first_use(wanted(foreign), None, QUIET)
    lines = str(caught.value).splitlines()
    assert all(f"train-{number}.tar" in line for number, line in zip((0, 2), lines, strict=True))
    index_on_first_use(wanted(foreign), None, QUIET, on_damage="salvage")
    assert set(read_manifest(foreign)) == {"train-1.tar", "train-3.tar", "val.tar"}


def test_a_folder_that_cannot_be_written_is_used_all_the_same(foreign: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(indexing, "write_index", refuse)
    index_on_first_use(wanted(foreign), None, QUIET)
    assert not list(foreign.glob("*.index"))
    assert len(Dataset(str(foreign), "train")) == 48
