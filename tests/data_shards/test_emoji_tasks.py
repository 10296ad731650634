"""The recipes of data_shards/emoji_masks and emoji_questions on drawings made here, without a network."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mmpretrain.data.card import load_card

pytest.importorskip("resvg_py")
pytest.importorskip("emoji")

from mmpretrain.recipes.sources.emoji_facts import (
    LIST,
    Described,
    attributes,
    read_subgroups,
)
from mmpretrain.recipes.sources.from_emoji import ARTISTS, Drawing, to_pair

DISC = '<circle cx="18" cy="18" r="16" fill="#c00"/>'
SHARDS = Path(__file__).parents[2] / "data_shards"


def drawing(name: str = "red circle", concept: str = "1f534", category: str = "Objects", body: str = DISC) -> Drawing:
    return Drawing(ARTISTS[0], concept, category, {"en": name}, "0 0 36 36", body)


@pytest.fixture(scope="module")
def masks(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("emoji_masks")


@pytest.fixture(scope="module")
def questions(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("emoji_questions")


def test_a_mask_covers_the_drawing_and_nothing_else(masks: ModuleType):
    scene = masks.compose(drawing())
    left, top, size = scene.box
    picture, mask = np.asarray(scene.picture).astype(int), np.asarray(scene.mask)
    assert set(np.unique(mask)) == {0, 1}
    rows, columns = np.nonzero(mask)
    assert left <= columns.min() <= columns.max() < left + size
    assert top <= rows.min() <= rows.max() < top + size
    # a disc of radius 16 in a square of 36
    assert abs(mask.sum() / size**2 - np.pi * 16**2 / 36**2) < 0.03
    inner = np.abs(np.mgrid[0:64, 0:64] - np.array([[[top + size / 2]], [[left + size / 2]]])).max(axis=0) < size / 5
    assert np.abs(picture[inner] - [204, 0, 0]).max() <= 1


def test_scenes_are_functions_of_their_key_and_differ_between_keys(masks: ModuleType):
    concepts = [f"1f53{number}" for number in range(8)]
    first, second = ([masks.compose(drawing(concept=each)) for each in concepts] for _ in range(2))
    assert [scene.picture.tobytes() for scene in first] == [scene.picture.tobytes() for scene in second]
    assert len({scene.picture.tobytes() for scene in first}) == len(first)
    assert len({scene.background for scene in first}) > 1


def test_drawings_that_cover_too_little_are_left_out(masks: ModuleType):
    assert masks.compose(drawing(body='<rect x="2" y="2" width="3" height="3"/>')) is None


def test_concepts_keep_the_split_that_emoji_gives_them(masks: ModuleType):
    drawings = [drawing(concept=f"a{number}") for number in range(6)]
    splits = {each.key: split for each, split in zip(drawings, ("train", "val", "test") * 2, strict=True)}
    chosen, thin = masks.choose([*drawings, drawing(category="Flags", concept="a9")], splits)
    assert thin == 0
    found = {each.key: split for split, scenes in chosen.items() for each, _ in scenes}
    assert found == splits


@pytest.mark.parametrize(
    ("name", "category", "expected"),
    [
        ("red circle", "Symbols", {"colour": "red"}),
        ("light blue heart", "Symbols", {"colour": "light blue"}),
        ("mahjong red dragon", "Activities", {}),
        ("man red hair", "People & Body", {"gender": "man", "hair": "red"}),
        ("woman bald", "People & Body", {"gender": "woman", "hair": "bald"}),
        ("woman’s hat", "Objects", {}),
        ("Isle of Man", "Flags", {}),
        ("backhand index pointing left", "People & Body", {"direction": "left"}),
        ("rightwards pushing hand", "People & Body", {"direction": "right"}),
        ("left luggage", "Symbols", {}),
        ("left-right arrow", "Symbols", {}),
        ("UP! button", "Symbols", {}),
        ("upside-down face", "Smileys & Emotion", {}),
    ],
)
def test_a_name_says_what_the_drawing_looks_like(name: str, category: str, expected: dict[str, str]):
    assert attributes(drawing(name, "1f000", category), set()) == expected


def test_skin_tones_come_from_code_points_and_their_lack_counts_where_there_are_some():
    person = {"category": "People & Body"}
    assert attributes(drawing("thumbs up", "1f44d-1f3ff", **person), {"1f44d"})["skin_tone"] == "dark"
    assert attributes(drawing("thumbs up", "1f44d", **person), {"1f44d"})["skin_tone"] == "none"
    assert "skin_tone" not in attributes(drawing("handshake", "1faf1-1f3fb-200d-1faf2-1f3fc", **person), set())
    assert "skin_tone" not in attributes(drawing("genie", "1f9de", **person), {"1f44d"})


def test_subgroups_are_read_by_concept(tmp_path: Path):
    (tmp_path / LIST).parent.mkdir(parents=True)
    lines = ["# group: Symbols", "# subgroup: geometric", "1F534 ; fully-qualified # ", "", "# subgroup: heart"]
    (tmp_path / LIST).write_text(
        "\n".join([*lines, "2764 FE0F ; fully-qualified # heart", "2764 ; unqualified # heart"])
    )
    assert read_subgroups(tmp_path) == {"1f534": "geometric", "2764": "heart"}


def test_half_of_the_questions_that_name_a_value_are_to_be_denied(questions: ModuleType):
    asked = []
    for number in range(400):
        found = Described(to_pair(drawing(concept=f"b{number:x}"), 8), "train", "geometric", {"colour": "red"})
        asked += questions.ask(found)
    kinds = Counter((question.kind, question.answer) for question in asked)
    assert set(kinds) == {("which colour", "red"), ("is colour", "yes"), ("is colour", "no")}
    assert 160 < kinds["which colour", "red"] < 240
    assert 70 < kinds["is colour", "yes"] < 130
    for question in asked:
        if question.kind == "is colour":
            assert ("red" in question.text) == (question.answer == "yes")


def test_every_answer_stands_in_the_card(questions: ModuleType):
    values = {value for template in questions.TEMPLATES.values() for value in template.values}
    assert set(load_card(SHARDS / "emoji_questions").classes) == values | {"yes", "no"}


@pytest.mark.parametrize("name", ["emoji_full", "emoji_subcategory", "emoji_questions", "emoji_masks"])
def test_cards_load(name: str):
    assert set(load_card(SHARDS / name).splits) == {"train", "val", "test", "unseen"}
