import itertools
import os
from pathlib import Path

import pytest
import torch

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data import samples as samples_module
from mmpretrain.data import shards
from mmpretrain.data.card import parse_name
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import evaluation_loader, training_loader
from mmpretrain.data.storage import Storage
from mmpretrain.data.tokenizer import WordPieceTokenizer
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.data.transforms import Augmentation
from tests.conftest import toy_samples, write_card, write_tar


def settings_for(folder: Path, **more: object) -> Data:
    augmentation = Augmentation(crop=(0.5, 1.0), flip=0.5, jitter=0.3, grayscale=0.2)
    return Data(**{"name": str(folder), "batch": 12, "workers": 0, "augmentation": augmentation, **more})


def open_toys(folder: Path, split: str = "train", storage: Storage | None = None):
    dataset = Dataset(str(folder), split, storage=storage)
    return dataset, WordPieceTokenizer(context_length=12, vocabulary=100).build(dataset.captions())


def steps(folder: Path, count: int, ranks: int = 1, micros: int = 1, start: int = 0, **more: object) -> list:
    """For each step the rows of all ranks in order: (keys, pictures, tokens)."""
    settings = settings_for(folder, **more)
    tokenizer = open_toys(folder, storage=settings.storage)[1]
    data = TrainingData(settings)
    loaders = [training_loader(data, tokenizer, 16, World(rank, ranks), micros, start) for rank in range(ranks)]
    found = []
    for _ in range(count):
        batches = [batch for loader in loaders for batch in next(loader)]
        keys = [key for batch in batches for key in batch.keys]
        found.append((keys, torch.cat([batch.images_BCHW for batch in batches])))
    return found


def assert_same(left: list, right: list) -> None:
    for (keys, images), (other_keys, other_images) in zip(left, right, strict=True):
        assert keys == other_keys
        assert torch.equal(images, other_images)


@pytest.mark.parametrize(("ranks", "micros", "workers"), [(2, 1, 0), (3, 2, 0), (1, 3, 2), (4, 1, 0), (2, 2, 1)])
def test_pairs_and_their_pixels_are_the_same_however_a_step_is_cut(shapes: Path, ranks: int, micros: int, workers: int):
    assert_same(steps(shapes, 9, ranks, micros, workers=workers), steps(shapes, 9))


def test_a_start_in_the_middle_goes_on_where_the_run_was(shapes: Path):
    assert_same(steps(shapes, 4, start=5), steps(shapes, 9)[5:])


def test_four_steps_of_twelve_are_one_epoch_of_forty_eight(shapes: Path):
    keys = [key for keys, _ in steps(shapes, 8) for key in keys]
    assert sorted(keys[:48]) == sorted(set(keys[:48])) == sorted(keys[48:])
    assert keys[:48] != keys[48:]


@pytest.mark.parametrize("workers", [0, 2])
def test_more_shards_than_may_be_open_at_a_time_are_read_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    samples = toy_samples(120)
    for number in range(40):
        write_tar(tmp_path / f"{number:02d}.tar", samples[3 * number : 3 * number + 3])
    write_card(tmp_path, {"train": (["{00..39}.tar"], 120)})
    expected = steps(tmp_path, 20)
    monkeypatch.setattr(shards, "OPEN_INDEXES", 3)
    monkeypatch.setattr(samples_module, "OPEN_FILES", 2)
    found = steps(tmp_path, 20, workers=workers)
    assert_same(found, expected)
    keys = [key for part, _ in found for key in part]
    assert sorted(keys[:120]) == sorted(keys[120:]) == sorted(sample["__key__"] for sample in samples)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_no_more_shards_are_open_than_are_allowed(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "OPEN_INDEXES", 2)
    monkeypatch.setattr(samples_module, "OPEN_FILES", 2)
    data = TrainingData(settings_for(shapes))
    batches = training_loader(data, open_toys(shapes)[1], 16, World(), 1, 0)
    for _ in range(8):
        next(batches)
        opened = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        assert len({path for path in opened if path.startswith(str(shapes)) and path.endswith(".tar")}) <= 2
        assert data.datasets[0].shards._open.cache_info().currsize <= 2


def test_batches_may_straddle_epochs(shapes: Path):
    keys = [key for keys, _ in steps(shapes, 48 * 5 // 20, batch=20) for key in keys]
    for epoch in range(5):
        assert len(set(keys[48 * epoch : 48 * (epoch + 1)])) == 48


def test_another_seed_is_another_order_and_other_crops(shapes: Path):
    (first, pixels), (second, others) = steps(shapes, 1)[0], steps(shapes, 1, seed=1)[0]
    assert first != second
    assert not torch.equal(pixels, others)


def test_loading_leaves_the_global_random_state_alone(shapes: Path):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    steps(shapes, 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 4, 20])
def test_evaluation_sees_every_sample_once_and_all_ranks_equally_many_batches(shapes: Path, ranks: int, rows: int):
    dataset, tokenizer = open_toys(shapes, "val")
    batches = [list(evaluation_loader(dataset, tokenizer, 16, World(rank, ranks), rows)) for rank in range(ranks)]
    assert len({len(part) for part in batches}) == 1
    positions = torch.cat([batch.positions_B for batch in itertools.chain(*batches)])
    assert sorted(positions[positions < len(dataset)].tolist()) == list(range(len(dataset)))


def test_a_batch_larger_than_the_split_is_refused(shapes: Path):
    with pytest.raises(ConfigError, match=r"data\.batch: 64 is more than the 48 samples"):
        steps(shapes, 1, batch=64)


def test_a_batch_that_cannot_be_cut_equally_is_refused_with_one_that_can(shapes: Path):
    with pytest.raises(ConfigError, match="does not divide by 5 ranks x 1 micro-batches; use 10"):
        steps(shapes, 1, ranks=5)


def test_a_card_that_contradicts_its_shards_is_refused(tmp_path: Path):
    write_tar(tmp_path / "a.tar", toy_samples(5))
    write_card(tmp_path, {"train": (["a.tar"], 6)})
    with pytest.raises(DataError, match="the card says 6 samples in 'train', its shards hold 5"):
        Dataset(str(tmp_path), "train")


def test_a_missing_shard_is_named(tmp_path: Path):
    write_card(tmp_path, {"train": (["a-{000..002}.tar"], 6)})
    with pytest.raises(DataError, match=r"3 of 3 shards of 'train' are missing, first a-000\.tar"):
        Dataset(str(tmp_path), "train")


def test_a_split_without_shards_is_refused(tmp_path: Path):
    write_card(tmp_path, {"train": ([], 6)})
    with pytest.raises(DataError, match=r"splits\.train\.shards is empty"):
        Dataset(str(tmp_path), "train")


def test_an_unknown_split_names_the_one_that_was_meant(shapes: Path):
    with pytest.raises(ConfigError, match="did you mean 'val'"):
        Dataset(str(shapes), "vall")


def test_a_name_and_its_split_are_told_apart(tmp_path: Path):
    assert parse_name("emoji:val") == ("emoji", "val")
    assert parse_name("emoji") == ("emoji", None)
    assert parse_name(":val") == ("", "val")
    assert parse_name("/a:b/emoji") == ("/a:b/emoji", None)
    folder = tmp_path / "odd:name"
    assert parse_name(str(folder)) == (str(tmp_path / "odd"), "name")
    folder.mkdir()
    write_card(folder, {"train": (["a.tar"], 1)})
    assert parse_name(str(folder)) == (str(folder), None)
    assert parse_name(f"{folder}:train") == (str(folder), "train")


def test_an_unknown_dataset_names_the_one_that_was_meant():
    with pytest.raises(ConfigError, match="did you mean 'emoji'"):
        Dataset("emojy", "train")


def test_a_card_with_mistakes_names_each(tmp_path: Path):
    (tmp_path / "dataset.yaml").write_text("title: x\nimage: gif\nsplits: {train: {shards: [a.tar], smaples: 3}}\n")
    with pytest.raises(DataError) as caught:
        Dataset(str(tmp_path), "train")
    assert len(str(caught.value).splitlines()) == 2
    assert "did you mean 'samples'" in str(caught.value)


def test_stock_webdataset_reads_the_same_pairs(shapes: Path):
    import webdataset

    stock = webdataset.WebDataset([str(path) for path in sorted(shapes.glob("train-*.tar"))], shardshuffle=False)
    assert [sample["__key__"] for sample in stock] == [sample.key for sample in open_toys(shapes)[0].samples()]
