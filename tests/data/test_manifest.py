import json
from pathlib import Path

import pytest

from mmpretrain.core.errors import DataError
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.manifest import FILE, read_manifest
from tests.conftest import toy_samples, write_card, write_tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, size in enumerate((4, 6)):
        write_tar(tmp_path / f"{number}.tar", toy_samples(size, artist=f"s{number}"))
    write_card(tmp_path, {"train": (["{0..1}.tar"], 10), "val": (["1.tar"], 6)})
    return tmp_path


def test_the_first_use_writes_the_manifest_and_later_ones_open_no_index(folder: Path):
    assert len(Dataset(str(folder), "train")) == 10
    assert {name: facts.samples for name, facts in read_manifest(folder).items()} == {"0.tar": 4, "1.tar": 6}
    for index in folder.glob("*.index"):
        index.write_bytes(b"never read")
    assert len(Dataset(str(folder), "train")) == 10


def test_counts_need_not_be_typed(folder: Path):
    (folder / "dataset.yaml").write_text("title: x\nsplits: {train: {shards: ['{0..1}.tar']}}\n")
    assert len(Dataset(str(folder), "train")) == 10


def test_the_digest_is_that_of_names_and_contents_in_order(folder: Path):
    both, one = Dataset(str(folder), "train"), Dataset(str(folder), "val")
    assert both.digest == Dataset(str(folder), "train").digest != one.digest


@pytest.mark.parametrize("verify", [False, True])
def test_a_changed_shard_is_refused_before_anything_is_read(folder: Path, verify: bool):
    Dataset(str(folder), "train")
    content = bytearray((folder / "1.tar").read_bytes())
    if verify:
        content[700] ^= 1
    else:
        content += bytes(512)
    (folder / "1.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"1\.tar: is not the file that was indexed .* data\.on_damage=salvage"):
        Dataset(str(folder), "train", verify=verify)


def test_an_index_that_contradicts_the_manifest_is_refused_when_it_is_opened(folder: Path):
    Dataset(str(folder), "train")
    write_tar(folder / "0.tar", toy_samples(4, artist="zz"))
    (folder / "0.tar.index").unlink()
    dataset = Dataset(str(folder), "train")  # the size is the same
    with pytest.raises(DataError, match=r"0\.tar: its index is not the one"):
        list(dataset.samples())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "x", "shards": {}}', '{"format": 1', "\0"])
def test_a_damaged_manifest_says_what_to_do(folder: Path, content: str):
    (folder / FILE).write_text(content)
    with pytest.raises(DataError, match="delete it and run `mmpretrain data index"):
        Dataset(str(folder), "train")


def test_a_manifest_of_unknown_fields_is_damaged(folder: Path):
    (folder / FILE).write_text(json.dumps({"format": "mmpretrain-manifest-1", "shards": {"0.tar": {"size": 3}}}))
    with pytest.raises(DataError, match="damaged manifest"):
        read_manifest(folder)
