"""The recipe of data_shards/openclipart on a few dozen drawings of the same make, without a network."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import webdataset

from mmpretrain.data.convert.record import LeftOut
from tests.conftest import COLOURS, SHAPES, toy_picture

SVG = """<svg xmlns="http://www.w3.org/2000/svg"><metadata>
<rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about="">
<dc:title>{title}</dc:title><dc:description>{description}</dc:description>
<dc:subject><rdf:Bag><rdf:li>hash</rdf:li><rdf:li/><rdf:li>road_sign</rdf:li></rdf:Bag></dc:subject>
<dc:creator><cc:Agent><dc:title>Ada Lovelace</dc:title></cc:Agent></dc:creator>
</cc:Work></rdf:RDF></metadata></svg>"""


@pytest.fixture(scope="module")
def recipe(recipe_of: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_of("openclipart")


def draw(root: Path, path: str, title: str, picture: bytes, description: str = "") -> None:
    for kind, content in (("svg", SVG.format(title=title, description=description).encode()), ("png", picture)):
        file = root / kind / f"{path}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """48 with titles of their own, five of a collection, and a few that are to be left out."""
    root = tmp_path / "openclipart"
    for style in range(3):
        for colour in COLOURS:
            for shape in SHAPES:
                title = f"{colour} {shape} {'again ' * style}"
                draw(root, f"shapes/{colour}_{shape}_{style}", title, toy_picture(colour, shape, style, 16 + style))
    for number, word in enumerate(("apple", "pear", "plum", "fig", "date")):
        picture = toy_picture("red", "dot", number, 40 + number)
        draw(root, f"food/{word}_ada_lovel_0{number}", "Clipart by Ada Lovelace - apple 01", picture)
    draw(root, "shapes/star_1", "gramastar", toy_picture("grey", "dot", 1, 20))
    draw(root, "signs/70a001", "Road Signs", toy_picture("grey", "dot", 1, 21))
    draw(root, "signs/broken", "Cut off", toy_picture("grey", "dot", 1, 22)[:50])
    (root / "svg" / "signs" / "other.svg").symlink_to("70a001.svg")
    return root


def test_titles_of_collections_give_way_to_the_words_of_the_file(recipe: ModuleType, drawings: Path):
    captions = {item.origin: item.captions for item in recipe.records_of(drawings) if not isinstance(item, LeftOut)}
    assert captions["food/plum_ada_lovel_02"] == ["plum"]
    assert captions["shapes/red_square_0"] == ["red square"]
    assert captions["signs/70a001"] == ["Road Signs"]


def test_links_and_generated_figures_are_named(recipe: ModuleType, drawings: Path):
    reasons = {item.origin: item.reason for item in recipe.records_of(drawings) if isinstance(item, LeftOut)}
    assert reasons == {"shapes/star_1": "generated", "signs/other": "link"}


def test_a_slice_packs_into_three_splits_the_same_every_time(recipe: ModuleType, drawings: Path, tmp_path: Path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        counts, reasons = recipe.build(drawings, tmp_path / name)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.tar")})
    assert made[0] == made[1]
    assert set(counts) == {"train", "val", "test"}
    assert reasons == {"generated": 1, "link": 1, "damaged_image": 1}
    stored = [
        json.loads(sample["json"])
        for sample in webdataset.WebDataset(
            [str(path) for path in (tmp_path / "one").glob("*.tar")], shardshuffle=False
        )
    ]
    assert len(stored) == counts.total() == 54
    assert {facts["artist"] for facts in stored} == {"Ada Lovelace"}
    assert all(facts["tags"] == ["road sign"] for facts in stored)


def test_titles_that_differ_by_digits_stay_on_one_side(recipe: ModuleType, drawings: Path, tmp_path: Path):
    for number in range(12):
        draw(
            drawings,
            f"cards/c{number}",
            f"King of hearts {number}",
            toy_picture("blue", "dot", number, 60 + 7 * number),
        )
    recipe.build(drawings, tmp_path)
    homes = {
        path.name
        for path in tmp_path.glob("*.tar")
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
        if b"King of hearts" in sample["txt"]
    }
    assert len(homes) == 1
