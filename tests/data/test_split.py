from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.files import sha256
from mmpretrain.data.dataset import Dataset, open_splits
from mmpretrain.data.duplicates import Near
from mmpretrain.data.fingerprints import fingerprints, join, shards_of
from mmpretrain.data.rewrite import derived_card, new_folder, write_dataset
from mmpretrain.data.split import assign, linked
from tests.data.test_duplicates import drawing, lay_out

SHARES = {"val": 0.1, "test": 0.2}
GROUPS = st.lists(st.integers(0, 40), min_size=1, max_size=120)


@given(GROUPS, st.integers(0, 5))
def test_no_group_straddles_and_no_held_out_split_outgrows_its_share(groups: list[int], seed: int):
    labels_N = np.array(groups)
    split_N = assign(labels_N, np.arange(len(groups)), SHARES, seed)
    for group in set(groups):
        assert len(set(split_N[labels_N == group])) == 1
    for name, share in SHARES.items():
        assert (split_N == name).sum() <= round(share * len(groups))


@given(GROUPS, st.integers(0, 5), st.randoms())
def test_the_order_of_samples_does_not_matter(groups: list[int], seed: int, random):
    order = list(range(len(groups)))
    random.shuffle(order)
    content_N = np.arange(len(groups)) * 7919
    split_N = assign(np.array(groups), content_N, SHARES, seed)
    again_N = assign(np.array(groups)[order], content_N[order], SHARES, seed)
    assert split_N[order].tolist() == again_N.tolist()


@given(st.integers(20, 300), st.integers(0, 5))
def test_single_samples_fill_every_split_exactly(count: int, seed: int):
    split_N = assign(np.arange(count), np.arange(count), SHARES, seed)
    assert [(split_N == name).sum() for name in SHARES] == [round(share * count) for share in SHARES.values()]


@pytest.mark.parametrize("shares", [{"val": 0.5, "test": 0.5}, {"val": -0.1}, {"test": 1.0}])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares: dict[str, float]):
    with pytest.raises(ConfigError, match="together less than 1"):
        assign(np.arange(5), np.arange(5), shares, 0)


def test_copies_captions_and_chains_of_both_are_linked(tmp_path: Path):
    pairs = [
        (drawing(0), "one"),
        (drawing(0, size=64), "two"),
        (drawing(1), "Two!"),
        (drawing(2), "three"),
    ]
    prints = join(fingerprints(shards_of(open_splits(lay_out(tmp_path, train=pairs)))))
    labels = linked(prints, Near()).tolist()
    assert labels[0] == labels[1] == labels[2] != labels[3]
    assert len(set(linked(prints, Near(), ["near"]).tolist())) == 3
    assert len(set(linked(prints, Near(), []).tolist())) == 4


def test_rewritten_shards_keep_keys_and_bytes_and_come_out_equal_twice(shapes: Path, tmp_path: Path):
    dataset = Dataset(str(shapes), "train")
    sources = [(shard, row) for shard in dataset.shards for row in range(0, len(shard), 2)]
    for name in ("one", "two"):
        card = derived_card(shapes, "Every second sample.")
        write_dataset(tmp_path / name, card, {"train": sources, "val": []}, shard_samples=10)
    first = Dataset(str(tmp_path / "one"), "train")
    assert [len(shard) for shard in first.shards] == [10, 10, 5]
    assert first.card.description == "Every second sample."
    assert sorted(first.card.splits) == ["train"]
    for path in (tmp_path / "one").glob("*.tar"):
        assert sha256(path) == sha256(tmp_path / "two" / path.name)
    known = {sample["__key__"]: sample for path in shapes.glob("train*.tar") for sample in read(path)}
    for sample in (sample for path in (tmp_path / "one").glob("*.tar") for sample in read(path)):
        for suffix in ("png", "txt", "json"):
            assert sample[suffix] == known[sample["__key__"]][suffix]


def read(path: Path) -> list[dict]:
    return list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))


def test_a_key_that_comes_again_begins_a_new_shard(shapes: Path, tmp_path: Path):
    shard = Dataset(str(shapes), "train").shards[0]
    write_dataset(tmp_path / "twice", derived_card(shapes, ""), {"train": [(shard, 0), (shard, 1), (shard, 0)]})
    assert [len(part) for part in Dataset(str(tmp_path / "twice"), "train").shards] == [2, 1]


def test_damage_found_while_copying_leaves_nothing_behind(shapes: Path, tmp_path: Path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes((shapes / "train-00000.tar").read_bytes())
    from mmpretrain.data.shards import open_index

    index = open_index(broken)
    raw = bytearray(broken.read_bytes())
    raw[next(index.members(0)).offset + 20] ^= 255
    broken.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="checksum"):
        write_dataset(tmp_path / "out", derived_card(shapes, ""), {"train": [(index, 0)]})
    assert not (tmp_path / "out").exists()


def test_a_dataset_is_never_overwritten(shapes: Path):
    with pytest.raises(ConfigError, match="exists"):
        new_folder(str(shapes))
