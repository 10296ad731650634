"""The recipe of data_shards/austen on a few made-up lines, without a network."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mmpretrain.data.card import find_dataset, load_card
from mmpretrain.data.dataset import Dataset

NOVEL = """EMMA

By Jane Austen

VOLUME I


CHAPTER I


Emma was handsome. She was _clever_,
and rich.

                     * * * * *

[At this point in the first edition, Volume 1 ends.]

CHAPTER II

Mr. Weston came in. {more}

FINIS

A note on the text."""


@pytest.fixture(scope="module")
def recipe(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("austen")


def test_a_novel_is_what_stands_between_its_first_chapter_and_its_end(recipe: ModuleType):
    told = recipe.body(NOVEL.format(more="").splitlines())
    assert " ".join(told.split()) == "Emma was handsome. She was clever, and rich. Mr. Weston came in."
    with pytest.raises(ValueError, match="no heading"):
        recipe.body(["Emma was handsome."])


def test_passages_of_each_novel_know_what_follows_them(recipe: ModuleType, tmp_path: Path):
    more = " ".join(f"He said number {number} and left." for number in range(60))
    names = [name for names in recipe.SPLITS.values() for name in names]
    texts = {name: recipe.body(NOVEL.format(more=f"{name} it is. {more}").splitlines()) for name in names}
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        counts = recipe.write_shards(texts, folder)
        made.append({path.name: path.read_bytes() for path in folder.glob("*.tar")})
    assert made[0] == made[1]
    assert set(counts) == {"train", "val", "test"}
    card = (Path(find_dataset("austen")) / "dataset.yaml").read_text()
    for split, said in load_card(find_dataset("austen")).splits.items():
        card = card.replace(f"samples: {said.samples}", f"samples: {counts[split]}")
    (tmp_path / "one" / "dataset.yaml").write_text(card.replace("{00000..00001}", "00000"))
    samples = list(Dataset(str(tmp_path / "one"), "train").samples())
    assert {sample.facts["document"] for sample in samples} == set(recipe.SPLITS["train"])
    assert len({sample.text_group for sample in samples}) == 4
    own = [sample for sample in samples if sample.facts["document"] == "emma"]
    assert [sample.following for sample in own[:-1]] == [sample.caption for sample in own[1:]]
    assert max(len(sample.caption.split()) for sample in samples) <= recipe.WORDS


def test_lazy_load_data_bases_of_r_are_read(recipe: ModuleType, tmp_path: Path):
    pytest.importorskip("rdata", reason="the extra `texts` is not installed")
    import gzip
    import zlib

    import rdata

    lines = ["CHAPTER 1", "It begins."]
    stream = zlib.compress(rdata.unparser.unparse_data(rdata.conversion.convert_python_to_r_data(np.array(lines))))
    head = (10).to_bytes(4, "big")
    (tmp_path / "Rdata.rdb").write_bytes(head + stream)
    index = {"variables": {"emma": np.array([0, len(head + stream)], dtype=np.int32)}}
    written = rdata.unparser.unparse_data(rdata.conversion.convert_python_to_r_data(index))
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(written))
    assert recipe.read_novels(tmp_path) == {"emma": lines}
