"""A split in CLIP_benchmark's layout, read by CLIP_benchmark's own reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmpretrain.data.convert.benchmark_set import BenchmarkSet
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.samples import Reading
from mmpretrain.data.told import read_told
from tests.commands import command, refused
from tests.conftest import COLOURS
from tests.tasks import described

LAYOUT = ("--to", "clip_benchmark")


def read(folder: Path, task: str, **more: Any) -> Any:
    """What its `eval` would look at."""
    from clip_benchmark.datasets.builder import build_dataset

    return build_dataset("wds/any", root=str(folder), split="val", task=task, **more)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_retrieval_set_has_each_picture_once_with_all_its_captions(tmp_path: Path, rows: int) -> None:
    data, out = described(tmp_path / "data", rows), tmp_path / "out"
    answer = command("data", "export", f"{data}:val", *LAYOUT, "--out", out, "--json")
    assert json.loads(answer.stdout)["pictures"] == 11
    wanted: dict[int, list[str]] = {}
    for each in read_told(Dataset(str(data), "val"), Reading()):
        wanted.setdefault(each.image_group, []).extend(each.captions)
    found = list(read(out, "zeroshot_retrieval"))
    assert [list(captions) for _, captions in found] == list(wanted.values())
    assert {picture.size for picture, _ in found} == {(16, 16), (17, 17), (18, 18)}
    assert len(list((out / "val").glob("*.tar"))) == 4, "a shard for each of its processes"


def test_a_classification_set_has_the_classes_and_sentences_of_the_card(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command("data", "export", f"{shapes}:val", *LAYOUT, "--task", "classification", "--out", out)
    found = read(out, "zeroshot_classification", custom_template_file=str(out / "prompts.json"))
    assert found.classes == list(COLOURS)
    assert found.templates == {colour: [colour] for colour in COLOURS}
    told = read_told(Dataset(str(shapes), "val"), Reading())
    assert [label for _, label in found] == [each.label for each in told]


def test_what_was_written_is_packed_again_with_its_captions(tmp_path: Path) -> None:
    data, out, back = described(tmp_path / "data", 3), tmp_path / "out", tmp_path / "back"
    command("data", "export", f"{data}:val", *LAYOUT, "--out", out)
    assert command("data", "pack", out, "--out", back).returncode == 0
    told = list(read_told(Dataset(str(back), "val"), Reading()))
    assert [each.captions for each in told] == [tuple(captions) for _, captions in read(out, "zeroshot_retrieval")]


def test_classes_are_packed_again_and_a_sample_of_another_one_is_named(shapes: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    command("data", "export", f"{shapes}:val", *LAYOUT, "--task", "classification", "--out", out)
    names = (out / "classnames.txt").read_text().splitlines()
    (out / "classnames.txt").write_text("\n".join(names[:-1]))
    assert "label" in refused(command("data", "pack", out, "--out", back), 3)
    command("data", "pack", out, "--out", back, "--max-bad", "0.5")
    lost = (back / "pack_errors.csv").read_text().splitlines()[1:]
    assert lost
    assert all("no number of a line of classnames.txt" in line for line in lost)
    found = Dataset(str(back), "val")
    wanted = {each.image_group: names[each.label] for each in read_told(Dataset(str(shapes), "val"), Reading())}
    there = {each.image_group: found.card.classes[each.label] for each in read_told(found, Reading())}
    assert there == {group: name for group, name in wanted.items() if name != names[-1]}
    (out / "classnames.txt").unlink()
    assert "what are the classes called?" in refused(command("data", "pack", out, "--out", tmp_path / "third"), 3)


@pytest.mark.parametrize("content", [b"-1", b"4", b"1.0", b"", b"9" * 5000, "²".encode()])
def test_what_is_no_line_of_the_class_names_is_no_class(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("cat\ndog\nbird\nfish\n")
    found = BenchmarkSet(tmp_path)
    assert found._class_of(b"3\n") == "fish"
    with pytest.raises(BadSample, match="no number of a line"):
        found._class_of(content)


def test_what_has_no_split_pictures_or_classes_is_refused_and_leaves_nothing(
    shapes: Path, passages: Path, tmp_path: Path
) -> None:
    data, out = described(tmp_path / "data"), tmp_path / "out"

    def said(name: str, *more: str) -> str:
        return refused(command("data", "export", name, *LAYOUT, *more, "--out", out), 2)

    assert f"which split? e.g. {shapes}:val" in said(str(shapes))
    assert "has no pictures" in said(f"{passages}:train")
    assert "its card names no label and classes" in said(f"{data}:val", "--task", "classification")
    assert not out.exists()
    out.mkdir()
    assert "exists; name another folder" in said(f"{shapes}:val")
