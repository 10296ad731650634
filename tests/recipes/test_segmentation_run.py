"""From pictures with masks to a run that finds them, its figures and its page."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.folder import read_folder
from mmpretrain.report.masks import build_masks
from mmpretrain.report.page import write_report
from tests.conftest import ConfigWriter
from tests.masks import pack_boxes

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_boxes(tmp_path_factory.mktemp("boxes"), train=12, val=7)


@pytest.fixture
def config(toy_config: ConfigWriter, boxes: Path) -> Any:
    def write(name: str = "boxes", **more: object) -> Path:
        return toy_config(
            name,
            **{
                "data__name": str(boxes),
                "objectives": [{"kind": "segmentation", "width": 16}],
                "optim": {"schedule": {"rate": 0.01, "warmup": 2}},
                "train": {"steps": 25, "log_every": 5},
                "evaluation": [{"kind": "segmentation", "split": "val"}],
                **more,
            },
        )

    return write


@pytest.fixture(scope="module")
def run(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    towers = {"image": {"kind": "timm", "name": "test_resnet", "size": 32}}
    tree = {
        "run": {"folder": str(folder / "boxes")},
        "data": {"name": str(boxes), "batch": 12, "workers": 0},
        "towers": towers,
        "objectives": [{"kind": "segmentation", "width": 16}],
        "optim": {"schedule": {"rate": 0.01, "warmup": 2}},
        "engine": {"kind": "single", "precision": "fp32"},
        "train": {"steps": 25, "log_every": 5},
        "evaluation": [{"kind": "segmentation", "split": "val"}],
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(tree))
    return pretrain(path, [], "never", QUIET)


def test_boxes_are_found_and_every_figure_stands_in_the_results(run: Run):
    (record,) = read_json_lines(run.results)
    assert (record["task"], record["split"]) == ("segmentation", "val")
    metrics = record["metrics"]
    assert metrics["mIoU"]["value"] > 0.8 > metrics["mIoU"]["chance"]
    assert metrics["mIoU"]["n"] == 7
    assert metrics["otsu_mIoU"]["value"] > 0.9, "red boxes on black need no learning"
    assert record["IoU"].keys() == {"ground", "thing"}
    lines = [json.loads(line) for line in (run.predictions / "segmentation_val.jsonl").read_text().splitlines()]
    assert len(lines) == 7
    mean = sum(line["foreground_IoU"] for line in lines) / 7
    assert mean == pytest.approx(metrics["foreground_IoU"]["value"])


def test_an_evaluation_from_the_command_line_gives_the_same(run: Run):
    (record,) = read_json_lines(run.results)[:1]
    again = evaluate(run.folder, "segmentation", ":val", ["mIoU=0.5"], None)
    assert again["metrics"] == record["metrics"]


def test_the_page_shows_picture_truth_and_what_was_found(run: Run):
    (split,) = build_masks(read_folder(run)) or []
    assert split.label == "val"
    assert [each["name"] for each in split.classes] == ["ground", "thing"]
    assert len(split.pictures) == 7
    assert {picture.caption for picture in split.pictures} == {f"box {number}" for number in range(12, 19)}
    page = write_report(run).read_text(encoding="utf-8")
    for image in (split.pictures[0].picture, split.pictures[0].truth, split.pictures[0].found):
        assert image in page
    assert "found and true masks overlap by" in page
    assert "Otsu’s threshold, which learns nothing, gives " in page


def test_a_few_pictures_alone_are_trained_on_and_the_page_says_so(config: Any):
    place = pretrain(config("few", data__samples=4, data__batch=4), [], "never", QUIET)
    facts = json.loads((place.folder / "data.json").read_text())
    assert (facts["trained_on"], facts["epochs"]) == (4, 25)
    assert "trained on 4 of them" in write_report(place).read_text(encoding="utf-8")


def test_a_start_from_the_image_tower_of_another_run(config: Any, run: Run):
    weights = next(run.checkpoints.glob("step_*")) / "weights.safetensors"
    path = config("start", towers__image__weights=str(weights), train={"steps": 3, "log_every": 1})
    place = pretrain(path, [], "never", QUIET)
    fresh = pretrain(config("fresh", train={"steps": 3, "log_every": 1}), [], "never", QUIET)
    first, other = (read_json_lines(each.metrics)[0]["loss"] for each in (place, fresh))
    assert first != other


def test_a_split_without_the_head_s_masks_is_refused_before_the_first_step(config: Any, shapes: Path):
    path = config(evaluation=[{"kind": "segmentation", "split": f"{shapes}:val"}])
    with pytest.raises(
        ConfigError, match=r"evaluation\.0\.split: shapes:val has no masks, and segmentation learns gro"
    ):
        dry_run(path, [], QUIET)


def test_data_without_masks_are_refused(config: Any, shapes: Path):
    with pytest.raises(ConfigError, match="segmentation learns from mask_classes, which the card of its data does not"):
        dry_run(config(data__name=str(shapes), evaluation=[]), [], QUIET)


def test_a_tower_without_maps_is_refused(config: Any):
    tower = {"kind": "timm", "name": "pit_ti_224", "size": 224}
    with pytest.raises(ConfigError, match=r"towers\.image\.name: PoolingVisionTransformer pools"):
        dry_run(config(towers__image=tower), [], QUIET)
