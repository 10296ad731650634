"""`mmpretrain explain`: pages of heat maps, their section in the report, and how faithful they are."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmpretrain.core.run import Run
from mmpretrain.recipes.answer import read_picture
from mmpretrain.recipes.explain import explained, heat_maps, load_run
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.page import write_report
from tests.commands import command, refused
from tests.conftest import ConfigWriter, toy_picture, toy_samples, write_card, write_tar

pytest.importorskip("captum")


@pytest.fixture
def run(toy_config: ConfigWriter) -> Path:
    return pretrain(toy_config("looks", evaluation=[]), [], "never", Console(quiet=True)).folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a red square.png"
    path.write_bytes(toy_picture("red", "square", 0))
    return path


def pictures_in(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_a_page_shows_the_picture_and_a_map_of_each_word_and_method(run: Path, picture: Path, tmp_path: Path):
    out = tmp_path / "page.html"
    text = "a red <b>square"
    answer = command(
        "explain",
        run,
        picture,
        "--text",
        text,
        "--words",
        "--method",
        "layer_cam",
        "--method",
        "occlusion",
        "--out",
        out,
    )
    assert answer.returncode == 0, answer.stderr
    page = out.read_text()
    assert len(pictures_in(page)) == 1 + 2 * (1 + 4), "a, red, b, square"
    assert all(each.size == (256, 256) for each in pictures_in(page))
    assert not re.search(r"(?:src|href)=.(?:https?:|//)|<b>square|<script|@import|url\(", page)
    assert "Layer-CAM" in page
    assert "val" in page, "what the text is told from"
    assert not (run / "explained").exists()


def test_programs_get_numbers(run: Path, picture: Path, tmp_path: Path):
    answer = command("explain", run, picture, "--text", "a red square", "--json", "--out", tmp_path / "page.html")
    facts = json.loads(answer.stdout)
    (asked,) = facts["pictures"][0]["asked"]
    assert asked["by"] == "similarity"
    assert [each["word"] for each in asked["shares"]] == ["a", "red", "square"]
    assert np.shape(asked["maps"][0]["grid"]) == (16, 16)
    assert "overlay" not in answer.stdout
    assert facts["out"] == str(tmp_path / "page.html")


def test_a_server_gets_arrays_and_pngs(run: Path, picture: Path):
    alone = load_run(run)
    asked = explained(alone, ["a blue dot", "a green stripe"])
    image = read_picture(picture, alone.config)
    whole, *words = heat_maps(asked, image, "red square", words=True)
    assert [each.text for each in words] == ["red", "square"]
    assert whole.map_HW.shape == (32, 32)
    assert whole.map_HW.dtype == np.float32
    assert Image.open(io.BytesIO(whole.overlay)).size == (256, 256)
    again = heat_maps(asked, image, "red square", words=True)
    assert [each.overlay for each in again] == [whole.overlay, *(each.overlay for each in words)]


def test_the_report_shows_what_was_explained_and_how_faithful_it_is(run: Path):
    assert command("explain", run, "--count", "3").returncode == 0
    measured = command("explain", run, "--faithfulness", "--samples", "6", "--method", "hires_cam", "--json")
    record = json.loads(measured.stdout)
    assert record["metrics"]["hires_cam_deletion"]["n"] == 6
    assert (
        record["metrics"]["hires_cam_deletion_above_random"]["low"]
        <= record["metrics"]["hires_cam_deletion_above_random"]["high"]
    )
    assert "hires_cam_pointing" not in record["metrics"], "the split has no masks"
    assert json.loads((run / "results.jsonl").read_text().splitlines()[-1]) == record
    lines = (run / "explained" / "faithfulness_shapes-val.jsonl").read_text().splitlines()
    values = [json.loads(line)["hires_cam_deletion"] for line in lines]
    assert np.mean(values) == pytest.approx(record["metrics"]["hires_cam_deletion"]["value"])
    assert command("compare", run, run).returncode == 2, "no predictions: they are of evaluations alone"
    page = write_report(Run(run)).read_text()
    assert 'id="looks"' in page
    assert page.count("HiResCAM</figcaption>") == 3
    assert "How faithful heat maps are" in page
    again = json.loads(
        command("explain", run, "--faithfulness", "--samples", "6", "--method", "hires_cam", "--json").stdout
    )
    assert again["metrics"] == record["metrics"]


def test_a_head_is_asked_for_its_likeliest_class_or_one_by_name(
    toy_config: ConfigWriter, picture: Path, tmp_path: Path
):
    config = toy_config("classes", objectives=[{"kind": "classification"}], evaluation=[])
    run = pretrain(config, [], "never", Console(quiet=True)).folder
    out = tmp_path / "page.html"
    for label in ("", "red"):
        answer = command("explain", run, picture, "--label", label, "--out", out, "--json")
        asked = json.loads(answer.stdout)["pictures"][0]["asked"][0]
        assert asked["by"] == "head"
        assert asked["text"] == (label or asked["text"])
    assert "does not know 'rad'; did you mean" in refused(command("explain", run, picture, "--label", "rad"), 2)
    assert "--question or --label" in refused(command("explain", run, picture, "--text", "red"), 2)


def test_a_run_that_writes_explains_what_it_writes(toy_config: ConfigWriter, picture: Path, tmp_path: Path):
    towers = {
        "image": {"kind": "timm", "name": "test_vit", "size": 32},
        "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
        "decoder": {"layers": 1},
        "embedding": 16,
    }
    config = toy_config("writer", towers=towers, objectives=[{"kind": "captioning"}], evaluation=[])
    run = pretrain(config, [], "never", Console(quiet=True)).folder
    answer = command("explain", run, picture, "--words", "--out", tmp_path / "page.html", "--json")
    asked = json.loads(answer.stdout)["pictures"][0]["asked"][0]
    assert asked["by"] == "caption"
    assert asked["maps"][0]["method"] == "gradient_attention"
    assert asked["score"] <= 0


def test_an_answer_is_explained_by_what_the_question_looks_at(toy_config: ConfigWriter, picture: Path, tmp_path: Path):
    folder = tmp_path / "asked"
    folder.mkdir()
    samples = [{**each, "txt": b"what colour is it?"} for each in toy_samples(24)]
    write_tar(folder / "train-00000.tar", samples)
    write_card(folder, {"train": (["train-00000.tar"], 24)}, answers="category", text_group=None, gallery=None)
    fusion = {"start": "text", "layers": 1}
    given = {"data__name": str(folder), "towers__fusion": fusion, "evaluation": []}
    config = toy_config("answers", objectives=[{"kind": "question_answering"}], **given)
    run = pretrain(config, [], "never", Console(quiet=True)).folder
    question = ("--question", "what colour is it?", "--answer", "red")
    answer = command("explain", run, picture, *question, "--out", tmp_path / "page.html", "--json")
    (asked,) = json.loads(answer.stdout)["pictures"][0]["asked"]
    assert asked["text"] == "what colour is it? red"
    assert asked["maps"][0]["method"] == "gradient_attention"
    assert np.max(asked["maps"][0]["grid"]) > 0
    assert "no head of the kind classification" in refused(command("explain", run, picture, "--label", ""), 2)


def test_what_cannot_be_explained_is_refused_in_one_line(run: Path, picture: Path, tmp_path: Path):
    assert "--text: say what to look for" in refused(command("explain", run, picture), 2)
    assert "use --method hires_cam" in refused(
        command("explain", run, picture, "--text", "a", "--method", "rollout"), 2
    )
    assert "no.png" in refused(command("explain", run, tmp_path / "no.png", "--text", "a"), 3)
    assert "not a run folder" in refused(command("explain", tmp_path, picture, "--text", "a"), 2)
    assert "cannot be asked by match" in refused(command("explain", run, picture, "--text", "a", "--by", "match"), 2)
    assert not list(tmp_path.glob("*.html"))


def test_without_the_training_data_a_text_is_told_from_nothing(run: Path, picture: Path, tmp_path: Path, shapes: Path):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(shapes), str(tmp_path / "gone")))
    answer = command("explain", run, picture, "--text", "a red square", "--out", tmp_path / "page.html", "--json")
    assert json.loads(answer.stdout)["against"] == ""
    shutil.rmtree(run)
