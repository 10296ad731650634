"""The recipe of data_shards/fashion_mnist on files of its own format, without a network."""

import gzip
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mmpretrain.data.card import load_card
from mmpretrain.data.dataset import Dataset
from tests.conftest import write_card


@pytest.fixture(scope="module")
def recipe(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("fashion_mnist")


def write_idx(path: Path, array: np.ndarray) -> None:
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()))


@pytest.fixture
def root(recipe: ModuleType, tmp_path: Path) -> Path:
    folder = tmp_path / "root" / recipe.FOLDER
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", draws.integers(0, 255, (count, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path / "root"


def test_pixels_and_classes_arrive_as_they_were(recipe: ModuleType, root: Path, tmp_path: Path):
    counts, left_out = recipe.build(root, tmp_path, each=2)
    assert (dict(counts), left_out.total()) == ({"train": 40, "val": 20, "test": 20}, 0)
    card = load_card(Path(recipe.__file__).parent)
    assert tuple(card.classes) == recipe.CLASSES
    splits = {split: ([f"{split}-00000.tar"], count) for split, count in counts.items()}
    more = {"label": card.label, "classes": card.classes, "text_group": None, "gallery": None}
    write_card(tmp_path, splits, **more)
    images = recipe.read_idx(root / recipe.FOLDER / "t10k-images-idx3-ubyte.gz")
    for row, sample in enumerate(Dataset(str(tmp_path), "test").samples()):
        assert np.array_equal(sample.image.numpy(), np.stack([images[row]] * 3))
        assert sample.label == row % 10
        assert sample.caption == recipe.CLASSES[row % 10]


def test_val_has_as_many_of_each_class_and_none_of_train(recipe: ModuleType, root: Path):
    garments = recipe.read_garments(root / recipe.FOLDER, "train")
    held_out = recipe.hold_out(garments, 2)
    labels = [garment.label for garment in garments if garment.key in held_out]
    assert {labels.count(name) for name in recipe.CLASSES} == {2}
    # by lot and not by place: the same pictures are held out whatever order they come in
    assert recipe.hold_out(garments[::-1], 2) == held_out


def test_what_is_no_idx_file_is_refused(recipe: ModuleType, tmp_path: Path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x0d\x01" + bytes(8)))
    with pytest.raises(ValueError, match="begins with 00 00 0d, which is no IDX file of bytes"):
        recipe.read_idx(path)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09" + bytes(8)))
    with pytest.raises(ValueError, match="cannot reshape"):
        recipe.read_idx(path)
