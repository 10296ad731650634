"""The recipe of data_shards/easy_vqa on a few questions of its own format, without a network."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import webdataset

from mmpretrain.data.card import load_card
from tests.conftest import toy_picture

KINDS = {
    "what color is the shape?": ("red", "which colour"),
    "what is the red shape?": ("circle", "which shape"),
    "is there a circle?": ("yes", "is there a shape"),
    "does the image not contain a red shape?": ("no", "is there not a colour"),
    "is no blue shape present?": ("yes", "is there not a colour"),
    "is there a teal shape in the image?": ("no", "is there a colour"),
}


@pytest.fixture(scope="module")
def recipe(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("easy_vqa")


@pytest.fixture
def root(recipe: ModuleType, tmp_path: Path) -> Path:
    for part, pictures in (("train", 20), ("test", 3)):
        folder = tmp_path / "root" / recipe.FOLDER / part
        (folder / "images").mkdir(parents=True)
        for number in range(pictures):
            (folder / "images" / f"{number}.png").write_bytes(toy_picture("red", "dot", number, 16 + number))
        questions = [[text, answer, number] for number in range(pictures) for text, (answer, _) in KINDS.items()]
        (folder / "questions.json").write_text(json.dumps(questions))
    return tmp_path / "root"


def test_kinds_of_question_are_told_by_their_words(recipe: ModuleType):
    for text, (answer, kind) in KINDS.items():
        assert recipe.Question("train", 0, text, answer, 0).kind == kind


def test_no_picture_stands_in_two_splits_and_shards_are_the_same_every_time(
    recipe: ModuleType, root: Path, tmp_path: Path
):
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        counts, left_out = recipe.build(root, folder)
        made.append({path.name: path.read_bytes() for path in folder.glob("*.tar")})
    assert made[0] == made[1]
    assert (dict(counts), left_out.total()) == ({"train": 18 * 6, "val": 2 * 6, "test": 3 * 6}, 0)
    homes: dict[str, set[str]] = {}
    for path in (tmp_path / "one").glob("*.tar"):
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            facts = json.loads(sample["json"])
            assert sample["txt"].decode() == facts["question"]
            assert KINDS[facts["question"]][0] == facts["answer"]
            homes.setdefault(facts["image_id"], set()).add(path.name)
    assert len(homes) == 23
    assert all(len(places) == 1 for places in homes.values())


def test_the_card_lists_every_colour_as_an_answer(recipe: ModuleType):
    card = load_card(Path(recipe.__file__).parent)
    assert set(recipe.COLOURS) < set(card.classes)
    assert len(card.classes) == 13
