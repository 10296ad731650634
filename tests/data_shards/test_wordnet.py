"""The recipe of data_shards/wordnet on a few lines of its own format, without a network."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import webdataset

HEAD = "  1 This software and database is being provided to you\n  2   \n  3 WordNet 3.0 Copyright 2006\n"
LINES = {
    "noun": '00001740 03 n 01 entity 0 000 | that which is perceived; the letter "a"; "one example"; "two; of them"  ',
    "verb": "00001740 29 v 02 breathe 0 take_a_breath 0 001 * 00005041 v 0000 01 + 02 00 | draw air into the lungs  ",
    "adj": "00002098 00 a 02 unable(p) 0 not_able(ip) 0 001 = 05200169 n 0000 | not having the means  ",
    "adv": '00001740 02 r 01 a_cappella 0 000 | without musical accompaniment; "they performed a cappella"  ',
}


@pytest.fixture(scope="module")
def recipe(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("wordnet")


@pytest.fixture
def root(recipe: ModuleType, tmp_path: Path) -> Path:
    folder = tmp_path / "root" / recipe.FOLDER
    folder.mkdir(parents=True)
    for part, line in LINES.items():
        (folder / f"data.{part}").write_text(f"{HEAD}{line}\n")
    return tmp_path / "root"


def test_a_synset_is_its_words_and_its_gloss_without_examples(recipe: ModuleType, root: Path):
    found = {synset.key: synset for synset in recipe.read_synsets(root / recipe.FOLDER)}
    assert {key: synset.text for key, synset in found.items()} == {
        "n00001740": 'entity: that which is perceived; the letter "a"',
        "v00001740": "breathe, take a breath: draw air into the lungs",
        "a00002098": "unable, not able: not having the means",
        "r00001740": "a cappella: without musical accompaniment",
    }
    assert found["n00001740"].examples == ['"one example"', '"two; of them"']


def test_senses_of_a_word_stay_in_one_split(recipe: ModuleType):
    assert recipe.split_of("Take a breath") == recipe.split_of("take a breath")
    splits = [recipe.split_of(f"word {number}") for number in range(2000)]
    assert all(0.03 < splits.count(name) / 2000 < 0.08 for name in ("val", "test"))


def test_shards_are_the_same_every_time_and_carry_the_licence(recipe: ModuleType, root: Path, tmp_path: Path):
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        counts, left_out = recipe.build(root, folder)
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]
    assert (counts.total(), left_out.total()) == (4, 0)
    tars = [str(path) for path in (tmp_path / "one").glob("*.tar")]
    assert len(list(webdataset.WebDataset(tars, shardshuffle=False))) == 4
    licence = (tmp_path / "one" / recipe.LICENCE).read_text()
    assert licence == "This software and database is being provided to you\n\nWordNet 3.0 Copyright 2006\n"
