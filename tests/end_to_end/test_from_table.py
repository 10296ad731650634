"""A table of pictures to a model of its task and its figures, in three commands."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from mmpretrain.data.dataset import Dataset
from tests.commands import command, refused
from tests.conftest import COLOURS, SHAPES, ConfigWriter, toy_picture

TOWERS = {"image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen"}}
TEXT = {"kind": "causal", "width": 16, "layers": 1, "heads": 2}
ONE = {"towers": TOWERS, "objectives": [{"kind": "classification"}]}
QUESTIONS = {
    "towers": {**TOWERS, "text": TEXT},
    "objectives": [{"kind": "question_answering", "reads": "product"}],
}
TRAINED = {"data__augmentation": {"crop": [1.0, 1.0]}, "optim__schedule": {"rate": 0.01, "warmup": 5}, "evaluation": []}


def looks(number: int) -> tuple[str, str]:
    return list(COLOURS)[number % 4], SHAPES[number // 4 % 4]


def labels(number: int) -> list[str]:
    """Colour and shape; grey ones have no class, dots only their colour."""
    colour, shape = looks(number)
    return [] if colour == "grey" else [colour] if shape == "dot" else [colour, shape]


def write_album(folder: Path, columns: Sequence[str], rows: list) -> None:
    """A folder of the hub's layout: a table beside the pictures of each split."""
    for split, own in (("train", rows[:64]), ("val", rows[64:])):
        (folder / split).mkdir(parents=True)
        lines = [",".join(["file_name", *columns])]
        for number, *cells in own:
            (folder / split / f"{number}.png").write_bytes(toy_picture(*looks(number), number // 16))
            lines.append(",".join([f"{number}.png", *cells]))
        (folder / split / "metadata.csv").write_text("\n".join(lines) + "\n")


def tried(tmp_path: Path, toy_config: ConfigWriter, task: str, settings: dict, *options: object) -> dict:
    """pack, finetune, evaluate."""
    out, run = tmp_path / "packed", tmp_path / "runs" / "task"
    answer = command("data", "pack", tmp_path / "album", "--out", out, *options)
    assert answer.returncode == 0, answer.stderr
    config = toy_config("task", data__name=str(out), data__batch=32, train__steps=60, **TRAINED, **settings)
    assert command("finetune", config).returncode == 0
    answer = command("evaluate", run, "--task", task, "--data", f"{out}:val", "--json")
    assert answer.returncode == 0, answer.stderr
    found: dict = json.loads(answer.stdout)
    return found


def card(tmp_path: Path) -> dict:
    found: dict = yaml.safe_load((tmp_path / "packed" / "dataset.yaml").read_text())
    return found


def test_one_class_a_picture(tmp_path: Path, toy_config: ConfigWriter):
    write_album(tmp_path / "album", ["label"], [(n, looks(n)[0]) for n in range(96)])
    record = tried(tmp_path, toy_config, "classification", ONE)
    assert card(tmp_path)["label"] == "label"
    assert record["metrics"]["acc1"]["value"] > 0.9


@pytest.mark.parametrize("separator", ["|", "+"])
def test_several_classes_a_picture_or_none(tmp_path: Path, toy_config: ConfigWriter, separator: str):
    write_album(tmp_path / "album", ["labels"], [(n, separator.join(labels(n))) for n in range(96)])
    options = ["--label-separator", separator] if separator != "|" else []
    record = tried(tmp_path, toy_config, "classification", ONE, *options)
    kept = card(tmp_path)
    assert (kept["labels"], kept.get("label")) == ("labels", None)
    assert kept["classes"] == ["blue", "frame", "green", "red", "square", "stripe"]
    samples = list(Dataset(str(tmp_path / "packed"), "val").samples())
    assert {each.labels for each in samples if "grey" not in each.caption} >= {(), (0,), (1, 3)}
    assert {each.caption for each in samples if not each.labels} == {"none of the classes"}
    assert "blue, frame" in {each.caption for each in samples}
    assert record["metrics"]["mAP"]["value"] > record["metrics"]["mAP"]["chance"] + 0.3
    assert record["metrics"]["exact_match"]["n"] == 32


def test_json_rows_with_lists_of_classes_beside_captions(tmp_path: Path):
    album = tmp_path / "album"
    album.mkdir()
    rows = []
    for number in range(20):
        (album / f"{number}.png").write_bytes(toy_picture(*looks(number), number))
        colour, shape = looks(number)
        rows.append({"image": f"{number}.png", "caption": f"a {colour} {shape}", "tags": labels(number)})
    del rows[3]["tags"]
    (album / "table.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    pack = ("data", "pack", album / "table.jsonl", "--out", tmp_path / "packed", "--max-bad", 0.1)
    answer = command(*pack, "--label-column", "tags")
    assert answer.returncode == 0, answer.stderr
    assert "class column 'tags' (several)" in answer.stdout
    assert "left out: 1 missing_label" in answer.stdout
    samples = list(Dataset(str(tmp_path / "packed"), "train").samples())
    assert samples[0].caption == "a red square"
    classes = card(tmp_path)["classes"]
    assert [classes[place] for place in samples[0].labels] == ["red", "square"]


def test_a_separator_of_classes_without_classes_is_refused(tmp_path: Path):
    write_album(tmp_path / "album", ["caption"], [(n, "a dot") for n in range(96)])
    pack = ("data", "pack", tmp_path / "album", "--out", tmp_path / "packed", "--label-separator", ";")
    assert "has no column of classes; choose it with --label-column" in refused(command(*pack), 2)


def test_questions_with_answers(tmp_path: Path, toy_config: ConfigWriter):
    rows = [(n, "what colour is it?", looks(n)[0]) for n in range(96)]
    write_album(tmp_path / "album", ["question", "answer"], rows)
    record = tried(tmp_path, toy_config, "vqa", QUESTIONS)
    assert card(tmp_path)["answers"] == "answer"
    assert record["metrics"]["vqa_acc"]["value"] > 0.9
