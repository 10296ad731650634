"""Searches of three kinds, and the map of embeddings, as a reader sees them."""

import json
import re
from typing import Any

import pytest

from mmpretrain.core.run import Run
from mmpretrain.report.embedding_map import HEIGHT, WIDTH, build_maps
from mmpretrain.report.folder import read_folder
from mmpretrain.report.page import write_report
from tests.report.conftest import HOSTILE, PREDICTIONS, picture, query, sample


def keep(run: Run, **more: Any) -> None:
    content = {**PREDICTIONS["retrieval_val"], **more}
    (run.predictions / "retrieval_val.json").write_text(json.dumps(content))


def point(x: float, y: float, name: str, gallery: str = "ada", **more: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "key": "k", "caption": HOSTILE, "gallery": gallery, "class": name, **more}


def test_hits_near_misses_and_worst_misses_stand_apart_with_the_answer_that_was_wanted(toy_run: Run):
    lost = {**query("t2i", "a lost one", None), "kind": "miss", "right": {**sample(3, "the wanted"), "score": -0.25}}
    kinds = [{**query("t2i", "found", 0), "kind": "hit"}, {**query("t2i", "nearly", 1), "kind": "near"}, lost]
    keep(toy_run, queries=kinds)
    source = write_report(toy_run).read_text()
    section = source[source.index('id="searches"') : source.index('id="classes"')]
    titles = re.findall(r"<h5>(.*?) <small>", section)
    assert titles == ["Best hits", "Near misses", "Worst misses"]
    last = section[section.index("Worst misses") :]
    assert "first right answer at place 42 of 200 in ada, -0.25" in " ".join(last.split())
    assert f'base64,{picture(120)}" alt="the wanted"' in last
    assert "3 searches picked for show, 2 with a right answer among the first 5" in section


@pytest.fixture
def mapped(toy_run: Run) -> Run:
    pictures = [point(n % 12, n // 12, f"class {n % 12}", "ada" if n % 2 else "eve") for n in range(60)]
    for near in (0, 1, 11):
        pictures[near]["image"] = picture(near)
    texts = [point(-3.0, 2.0, "class 0")]
    keep(toy_run, map={"explained": [0.5, 0.25], "gap": 0.5, "of": 90, "pictures": pictures, "texts": texts})
    return toy_run


def test_points_are_coloured_by_class_and_by_gallery_and_rare_classes_share_grey(mapped: Run):
    (found,) = build_maps(read_folder(mapped)) or []
    by_class, by_gallery = found.views
    assert [key.colour for key in by_class.keys] == [*range(1, 11), 0]
    assert (by_class.keys[0].count, by_class.keys[-1].name, by_class.keys[-1].count) == ("5", "others", "10")
    assert [(key.name, key.count) for key in by_gallery.keys] == [("eve", "30"), ("ada", "30")]
    assert "60 of 90 pictures and 1 texts" in found.note
    assert "75.0" in found.note
    assert found.across.startswith("first component, 50.0")


def test_every_point_lies_on_the_sheet_and_both_axes_have_one_scale(mapped: Run):
    (found,) = build_maps(read_folder(mapped)) or []
    points = [*found.views[0].pictures, *found.views[0].texts]
    assert all(0 < each.x < WIDTH and 0 < each.y < HEIGHT for each in points)
    first, beside, below = (found.views[0].pictures[n] for n in (0, 1, 12))
    assert beside.x - first.x == pytest.approx(first.y - below.y, abs=0.11)
    assert [each.x for each in found.thumbnails] == [first.x, beside.x, found.views[0].pictures[11].x]


def test_captions_on_the_map_stay_text(mapped: Run):
    source = write_report(mapped).read_text()
    assert "<script" not in source.lower()
    assert "Map of embeddings" in source
    assert source.count("<image ") == 3
