"""Bad input of real commands: named, counted, and what can be used is used; else one line that says what to do."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from mmpretrain.core.files import read_json_lines
from tests.commands import command, refused
from tests.conftest import COLOURS, SHAPES, ConfigWriter, toy_picture, toy_samples, write_card, write_tar
from tests.tasks import ANSWERS, questions

VIT = {"kind": "timm", "name": "test_vit", "size": 32}
TEXT = {"kind": "causal", "width": 16, "layers": 1, "heads": 2}
RESNET = {"image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen"}}
CLASSES = {"towers": RESNET, "objectives": [{"kind": "classification"}]}
ANSWERING = {
    "towers": {"image": VIT, "text": TEXT, "embedding": 16},
    "objectives": [{"kind": "question_answering", "reads": "product"}],
}
WRITING = {
    "towers": {"image": VIT, "text": TEXT, "decoder": {"layers": 1}, "embedding": 16},
    "objectives": [{"kind": "captioning"}, {"kind": "contrastive"}],
}
KINDS = {"classifier": CLASSES, "quizzed": ANSWERING, "writer": WRITING}
CUT = toy_picture("red", "dot", 0, 64)[:100]
ACC1 = [{"kind": "classification", "split": "val"}]


def painted(size: tuple[int, int], mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def huge() -> bytes:
    """A hundred million pixels in some kilobytes; decoded to RGB, 300 MB."""
    return painted((10_000, 10_000), "1")


Train = Callable[..., Path]


@pytest.fixture
def train(toy_config: ConfigWriter, tmp_path: Path) -> Train:
    """Fine-tunes a kind of run for a step, as the command does; returns its folder."""

    def run(kind: str, *overrides: str, code: int = 0, evaluation: list | None = None, **more: object) -> Path:
        steps = {"train__steps": 1, "optim__schedule__warmup": 0}
        config = toy_config(kind, **{**KINDS[kind], "evaluation": evaluation or [], **steps, **more})
        answer = command("finetune", config, *overrides)
        assert answer.returncode == code, answer.stderr
        (tmp_path / f"{kind}.log").write_text(answer.stdout)
        return tmp_path / "runs" / kind

    return run


def said(tmp_path: Path, kind: str) -> str:
    """What the command line said of a run."""
    return " ".join((tmp_path / f"{kind}.log").read_text().split())


def album(folder: Path, rows: list[tuple[str, str]], columns: str = "image,label") -> Path:
    """Pictures in a folder with a table beside them."""
    folder.mkdir(exist_ok=True)
    names = list(dict.fromkeys(name for name, _ in rows))
    for number, name in enumerate(names):
        (folder / name).write_bytes(toy_picture(list(COLOURS)[number % 4], SHAPES[number // 4 % 4], number // 16))
    table = folder / "table.csv"
    table.write_text("\n".join([columns, *(",".join(row) for row in rows)]) + "\n")
    return table


def errors(packed: Path) -> dict[str, str]:
    """Reason by origin."""
    with (packed / "pack_errors.csv").open() as file:
        return {row["origin"]: row["reason"] for row in csv.DictReader(file)}


def peak_megabytes() -> float:
    return (
        int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
        / 1e3
    )


@pytest.fixture
def memory() -> Callable[[], float]:
    """Megabytes that this process has grown by at its largest."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_megabytes()
    return lambda: peak_megabytes() - before


# -- labels -----------------------------------------------------------------------------------------------


def test_a_table_with_unknown_labels_is_packed_without_them(tmp_path: Path):
    rows = [(f"{n}.png", "pinc" if n == 7 else ["red", "green"][n % 2]) for n in range(40)]
    table = album(tmp_path / "album", rows)
    (tmp_path / "classes.txt").write_text("green\nred\nblue\n")
    out, classes = tmp_path / "packed", tmp_path / "classes.txt"
    answer = command("data", "pack", tmp_path / "album", "--captions", table, "--out", out, "--classes", classes)
    assert answer.returncode == 0, answer.stderr
    assert "left out: 1 unknown_class" in answer.stdout
    assert errors(out) == {"table.csv:9": "unknown_class"}
    assert yaml.safe_load((out / "dataset.yaml").read_text())["classes"] == ["green", "red", "blue"]
    again = ("data", "pack", tmp_path / "album", "--captions", table, "--out", tmp_path / "other", "--classes")
    assert "no such file" in refused(command(*again, tmp_path / "gone.txt"), 2).lower()
    classes.write_text("pink\n")
    line = refused(command(*again, classes), 3)
    assert "40 of 40 records (100.0 %) cannot be used (40 unknown_class)" in line
    assert "each is named in" in line


def test_a_run_says_which_classes_have_no_example(train: Train, tmp_path: Path):
    write_tar(tmp_path / "train.tar", toy_samples(48))
    write_tar(tmp_path / "val.tar", toy_samples(12))
    splits = {"train": (["train.tar"], 48), "val": (["val.tar"], 12)}
    write_card(tmp_path, splits, classes=[*COLOURS, "pink", "teal"])
    run = train("classifier", evaluation=ACC1, data__name=str(tmp_path))
    assert "2 of 6 classes have no example to learn from: 'pink', 'teal'" in said(tmp_path, "classifier")
    (record,) = read_json_lines(run / "results.jsonl")
    assert "2 of 6 classes have no example here: pink, teal." in record["remarks"]


def test_labels_that_a_head_never_learned_are_counted_in_an_evaluated_split(train: Train, tmp_path: Path):
    run = train("classifier")
    samples = toy_samples(40)
    samples[3]["json"] = samples[4]["json"] = b'{"artist": "x", "concept": "y", "category": "pink"}'
    samples[5]["json"] = b'{"artist": "x", "concept": "y", "category": "not in the card"}'
    write_tar(tmp_path / "val.tar", samples)
    write_card(tmp_path, {"val": (["val.tar"], 40)}, classes=[*COLOURS, "pink"])
    answer = command("evaluate", run, "--task", "classification", "--data", f"{tmp_path}:val", "--json")
    assert answer.returncode == 0, answer.stderr
    record = json.loads(answer.stdout)
    assert record["metrics"]["acc1"]["n"] == 37
    assert record["outside_classes"] == 2
    assert record["left_out"] == [
        "val.tar: ada-0005: unknown_class: category is 'not in the card', which the card does not list"
    ]
    assert "1 (unknown_class 1; val.tar: ada-0005" in record["remarks"][0]
    assert "2 of 39 samples have classes that the head does not choose from ('pink' 2)" in record["remarks"][1]


def test_answers_outside_the_vocabulary_are_counted_in_training_and_in_the_result(train: Train, tmp_path: Path):
    write_tar(tmp_path / "train.tar", questions(48))
    write_tar(tmp_path / "val.tar", questions(29, start=100))
    facts = {"answers": "answers", "label": "answer", "classes": ANSWERS, "text_group": None, "gallery": None}
    write_card(tmp_path, {"train": (["train.tar"], 48), "val": (["val.tar"], 29)}, **facts)
    evaluation = [{"kind": "question_answering", "split": "val"}]
    run = train("quizzed", data__name=str(tmp_path), evaluation=evaluation)
    outside = sum(n % 7 == 0 and n % 3 > 0 for n in range(48))
    told = f"{outside} of 48 questions looked at have no answer among the 6 that question_answering chooses from"
    assert f"{told}, such as 'grey-ish'" in said(tmp_path, "quizzed")
    (record,) = read_json_lines(run / "results.jsonl")
    asked = sum(n % 7 == 0 and n % 3 > 0 for n in range(100, 129))
    assert (record["outside_vocabulary"], record["outside_vocabulary_in_training"]) == (asked, outside)
    assert f"{outside} of 48 training questions have no answer among the head's" in " ".join(record["remarks"])


# -- one corrupt picture in a thousand --------------------------------------------------------------------


def test_one_corrupt_picture_in_a_thousand_is_left_out_of_a_dataset(tmp_path: Path):
    album(tmp_path / "album", [(f"{n:04d}.png", "x") for n in range(1000)])
    (tmp_path / "album" / "table.csv").write_text(
        "\n".join(["image,caption", *(f"{n:04d}.png,picture number {n}" for n in range(1000))])
    )
    (tmp_path / "album" / "0500.png").write_bytes(CUT)
    table, out = tmp_path / "album" / "table.csv", tmp_path / "packed"
    answer = command("data", "pack", tmp_path / "album", "--captions", table, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert "left out: 1 damaged_image" in answer.stdout
    assert errors(out) == {"table.csv:502": "damaged_image"}


def test_one_corrupt_picture_in_a_thousand_stops_no_training_evaluation_or_captioning(
    train: Train, tmp_path: Path, huge: bytes, memory: Callable[[], float]
):
    for name in ("train", "val"):
        samples = toy_samples(1000)
        samples[500]["png"] = CUT
        samples[600]["png"] = huge
        samples[700]["png"] = painted((1, 1))
        write_tar(tmp_path / f"{name}.tar", samples)
    write_card(tmp_path, {"train": (["train.tar"], 1000), "val": (["val.tar"], 1000)})
    run = train("classifier", "data.batch=500", evaluation=ACC1, data__name=str(tmp_path), train__steps=2)
    ledger = {record["key"]: record["reason"] for record in read_json_lines(run / "ledger.jsonl")}
    assert ledger == {"ada-0500": "damaged_image", "ada-0600": "large_image"}
    (record,) = read_json_lines(run / "results.jsonl")
    assert record["metrics"]["acc1"]["n"] == 998
    assert [each.split(": ")[2] for each in record["left_out"]] == ["damaged_image", "large_image"]
    assert "note: 2 (damaged_image 1, large_image 1; val.tar: ada-0500: damaged_image" in said(tmp_path, "classifier")
    assert memory() < 250, "the hundred megapixels were never decoded"


def test_pictures_of_a_folder_are_captioned_but_for_those_that_cannot_be(
    train: Train, tmp_path: Path, huge: bytes, memory: Callable[[], float]
):
    run, folder = train("writer"), tmp_path / "album"
    album(folder, [(f"{n:04d}.png", "x") for n in range(1000)])
    (folder / "0500.png").write_bytes(CUT)
    (folder / "0600.png").write_bytes(huge)
    (folder / "0700.png").write_bytes(painted((1, 1)))
    answer = command("caption", run, folder, "--out", tmp_path / "c.json", "--most-tokens", 3, "--json")
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert (facts["captioned"], facts["left_out"]) == (997, {"damaged_image": 1, "large_image": 1, "small_image": 1})
    left_out = json.loads((tmp_path / "c.left_out.json").read_text())
    assert [Path(each["file"]).name for each in left_out] == ["0500.png", "0600.png", "0700.png"]
    assert memory() < 250


def test_too_many_corrupt_pictures_end_an_evaluation_with_their_number(train: Train, tmp_path: Path):
    samples = toy_samples(20)
    samples[3]["png"] = samples[9]["png"] = CUT
    write_tar(tmp_path / "val.tar", samples)
    write_card(tmp_path, {"val": (["val.tar"], 20)})
    run = train("classifier")
    line = refused(command("evaluate", run, "--task", "classification", "--data", f"{tmp_path}:val"), 3)
    assert "2 (damaged_image 2; val.tar: ada-0003: damaged_image" in line
    assert "data.breaker.share = 0.05" in line


@pytest.mark.processes
def test_two_ranks_leave_out_the_same_samples(train: Train, tmp_path: Path):
    samples = toy_samples(40)
    samples[3]["png"] = samples[30]["png"] = CUT
    write_tar(tmp_path / "val.tar", samples)
    write_card(tmp_path, {"val": (["val.tar"], 40)})
    run = train("classifier")
    arguments = ["evaluate", run, "--task", "classification", "--data", f"{tmp_path}:val"]
    assert command(*arguments).returncode == 0
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mmpretrain"]
    found = subprocess.run([*launched, *map(str, arguments)], capture_output=True, text=True, timeout=110)
    assert found.returncode == 0, found.stderr
    alone, both = read_json_lines(run / "results.jsonl")
    assert both["left_out"] == alone["left_out"]
    assert len(alone["left_out"]) == 2
    assert both["metrics"]["acc1"] == alone["metrics"]["acc1"]


# -- pictures of odd sizes --------------------------------------------------------------------------------


def test_odd_pictures_are_packed_or_left_out_by_name(tmp_path: Path, huge: bytes, memory: Callable[[], float]):
    table = album(tmp_path / "album", [(f"{n}.png", "red") for n in range(30)])
    (tmp_path / "album" / "3.png").write_bytes(huge)
    (tmp_path / "album" / "4.png").write_bytes(painted((1, 1)))
    out = tmp_path / "packed"
    answer = command("data", "pack", tmp_path / "album", "--captions", table, "--out", out, "--workers", 0)
    assert answer.returncode == 0, answer.stderr
    assert errors(out)["table.csv:5"] == "large_image"
    assert "table.csv:6" not in errors(out), "a single pixel can be learned from"
    assert memory() < 250


def test_a_question_about_a_picture_that_is_none_ends_with_its_name(
    train: Train, tmp_path: Path, huge: bytes, memory: Callable[[], float]
):
    write_tar(tmp_path / "train.tar", questions(48))
    facts = {"answers": "answers", "label": "answer", "classes": ANSWERS, "text_group": None, "gallery": None}
    write_card(tmp_path, {"train": (["train.tar"], 48)}, **facts)
    run = train("quizzed", data__name=str(tmp_path))
    bad = (("huge", huge, "large_image"), ("cut", CUT, "damaged_image"), ("dot", painted((1, 1)), "small_image"))
    for name, content, reason in bad:
        (tmp_path / f"{name}.png").write_bytes(content)
        assert f"{name}.png: {reason}: " in refused(command("answer", run, tmp_path / f"{name}.png", "is it red?"), 3)
    assert "gone.png: missing_image: " in refused(command("answer", run, tmp_path / "gone.png", "is it red?"), 3)
    assert "no_file" in refused(command("answer", run, tmp_path, "is it red?"), 3)
    assert memory() < 250


def test_a_question_without_picture_is_left_out_of_a_dataset(tmp_path: Path):
    folder = tmp_path / "album"
    rows = [f"{n}.png,what colour is it?,{list(COLOURS)[n % 4]}" for n in range(40)]
    table = album(folder, [(f"{n}.png", "x") for n in range(39)])
    table.write_text("\n".join(["image,question,answer", *rows, ",is it red?,no"]) + "\n")
    out = tmp_path / "packed"
    answer = command("data", "pack", folder, "--captions", table, "--out", out, "--max-bad", 0.1)
    assert answer.returncode == 0, answer.stderr
    assert errors(out) == {"table.csv:41": "missing_image", "table.csv:42": "no_image"}


# -- the wrong head, and nothing at all -------------------------------------------------------------------


def test_a_run_without_the_head_that_is_asked_says_what_it_has(train: Train, tmp_path: Path):
    run = train("classifier")
    (tmp_path / "a.png").write_bytes(toy_picture("red", "dot", 0))
    line = refused(command("caption", run, tmp_path / "a.png"), 2)
    assert "learned classification and has no decoder that writes captions; train one with" in line
    line = refused(command("answer", run, tmp_path / "a.png", "is it red?"), 2)
    assert "learned classification and no answers; train one with question_answering: mmpretrain finetune" in line
    remedy = "this run can be asked by --task classification, probe, few_shot"
    for task in ("vqa", "segmentation", "captioning", "retrieval"):
        line = refused(command("evaluate", run, "--task", task, "--data", ":val"), 2)
        assert "learned classification" in line or task == "retrieval"
        assert line.endswith(remedy)
    writer = train("writer")
    line = refused(command("evaluate", writer, "--task", "classification", "--data", ":val"), 2)
    assert "asks a head of that kind, and the run learned captioning, contrastive alone; add" in line
    assert "captioning" in line.rpartition("--task")[2]


def test_an_empty_folder_is_named(train: Train, tmp_path: Path):
    (tmp_path / "nothing").mkdir()
    line = refused(command("data", "pack", tmp_path / "nothing", "--out", tmp_path / "packed"), 3)
    assert "nothing" in line
    assert not (tmp_path / "packed").exists()
    line = refused(command("caption", train("writer"), tmp_path / "nothing", "--out", tmp_path / "c.json"), 3)
    assert "empty_folder 1" in line
    assert not (tmp_path / "c.json").exists()
