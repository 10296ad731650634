"""Acceptance: what people really have, in one command, with everything named that was left out."""

import csv
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mmpretrain.data.dataset import Dataset
from tests.conftest import toy_picture

ROWS = [
    ("rot.png", 'Ein rotes "Quadrat", gro\u00df'),
    ("unter/gruen.png", "Ein gr\u00fcner Streifen; daneben nichts"),
    ("unter\\blau.png", "Ein blauer Punkt\nauf zwei Zeilen"),
    ("kopie.png", 'Ein rotes "Quadrat", gro\u00df'),
    ("kopie.png", "Nochmals rot"),
    ("fehlt.png", "Dieses Bild fehlt"),
    ("../geheim.png", "Dieses liegt au\u00dferhalb"),
    ("/etc/hostname", "Dieses auch"),
    ("unter/../../geheim.png", "Und dieses"),
    ("grau.png", "   "),
    ("halb.png", "Abgeschnitten"),
    ("text.png", "Kein Bild"),
    ("", "Kein Name"),
]
# by line; the picture of lines 4 and 5 has a caption of two
EXPECTED = {
    6: "duplicate",
    8: "missing_image",
    9: "outside_source",
    10: "outside_source",
    11: "outside_source",
    12: "empty_caption",
    13: "damaged_image",
    14: "unknown_image",
    15: "no_image",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of pictures, some of them no good, and one beside it that must never be read."""
    folder = tmp_path / "photos"
    (folder / "unter").mkdir(parents=True)
    (folder / "rot.png").write_bytes(toy_picture("red", "square", 0))
    (folder / "kopie.png").write_bytes(toy_picture("red", "square", 0))
    (folder / "unter" / "gruen.png").write_bytes(toy_picture("green", "stripe", 0))
    (folder / "unter" / "blau.png").write_bytes(toy_picture("blue", "dot", 0))
    (folder / "grau.png").write_bytes(toy_picture("grey", "frame", 0))
    (folder / "halb.png").write_bytes(toy_picture("grey", "dot", 0)[:60])
    (folder / "text.png").write_text("not a picture")
    (tmp_path / "geheim.png").write_bytes(toy_picture("grey", "dot", 1))
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "bilder.csv"
    with path.open("w", encoding="cp1252", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Datei", "Beschreibung", "Quelle"])
        writer.writerows([*row, "Archiv"] for row in ROWS)
    return path


def mmpretrain(*arguments: object, **more: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mmpretrain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, **more)


def test_a_folder_and_a_semicolon_csv_in_cp1252_pack_in_one_command(photos: Path, table: Path, tmp_path: Path):
    out = tmp_path / "sets" / "mine"
    answer = mmpretrain("data", "pack", photos, "--captions", table, "--out", out, "--max-bad", "0.7")
    assert answer.returncode == 0, answer.stderr
    assert "bilder.csv: ';' separated, cp1252, picture column 'Datei', caption column 'Beschreibung'" in answer.stdout
    assert "3 samples of 13 records in 1 shards" in answer.stdout
    assert "1 joined as further captions" in answer.stdout
    assert f"mmpretrain data check {out}" in answer.stdout

    samples = {sample.caption: sample for sample in Dataset(str(out), "train").samples()}
    assert set(samples) == {ROWS[0][1], ROWS[1][1], ROWS[2][1]}
    red = samples[ROWS[0][1]].facts
    assert red["captions"] == [ROWS[0][1], "Nochmals rot"]
    assert (red["origin"], red["Quelle"], red["width"]) == ("rot.png", "Archiv", 16)

    with (out / "pack_errors.csv").open(encoding="utf-8", newline="") as file:
        faults = list(csv.DictReader(file))
    assert {int(fault["origin"].partition(":")[2]): fault["reason"] for fault in faults} == EXPECTED
    assert "licence: unknown" in (out / "dataset.yaml").read_text()
    assert mmpretrain("data", "check", out).returncode == 0


def test_too_much_that_is_bad_packs_nothing_exits_3_and_names_each(photos: Path, table: Path, tmp_path: Path):
    out = tmp_path / "sets" / "mine"
    answer = mmpretrain("data", "pack", photos, "--captions", table, "--out", out)
    assert answer.returncode == 3
    assert len(answer.stderr.splitlines()) == 1
    assert "8 of 13 records (61.5 %) cannot be used" in answer.stderr
    assert [path.name for path in out.parent.iterdir()] == ["mine.pack_errors.csv"]
    assert len((out.parent / "mine.pack_errors.csv").read_text().splitlines()) == 10


@pytest.mark.processes
def test_several_workers_name_a_truncated_picture_and_the_rest_is_packed(tmp_path: Path):
    folder, out = tmp_path / "photos", tmp_path / "sets" / "mine"
    folder.mkdir()
    for number in range(24):
        shape, style = ("square", "stripe", "frame", "dot")[number % 4], number // 4
        (folder / f"{number:02d}.png").write_bytes(toy_picture("red", shape, style, size=16 + number))
        (folder / f"{number:02d}.txt").write_text(f"red {number}")
    broken = folder / "13.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    said = ["13.png", "damaged_image"]

    strict = mmpretrain("data", "pack", folder, "--out", out, "--workers", "2", "--max-bad", "0.01")
    assert strict.returncode == 3
    assert "1 of 24 records (4.2 %) cannot be used (1 damaged_image)" in strict.stderr
    assert [path.name for path in out.parent.iterdir()] == ["mine.pack_errors.csv"]
    assert faults(out.parent / "mine.pack_errors.csv") == [said]

    answer = mmpretrain("data", "pack", folder, "--out", out, "--workers", "2")
    assert answer.returncode == 0, answer.stderr
    assert faults(out / "pack_errors.csv") == [said]
    captions = [sample.caption for sample in Dataset(str(out), "train").samples()]
    assert captions == [f"red {number}" for number in range(24) if number != 13]


def faults(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [[row["origin"], row["reason"]] for row in csv.DictReader(file)]


def test_a_full_disk_is_one_line_and_leaves_nothing(photos: Path, table: Path, tmp_path: Path):
    """A limit on file size is a disk that is full, for whoever writes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    out = tmp_path / "sets" / "mine"
    arguments = ("data", "pack", photos, "--captions", table, "--out", out, "--max-bad", "0.7", "--workers", "0")
    answer = mmpretrain(*arguments, preexec_fn=limit)
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "no space left; nothing was written" in answer.stderr
    assert not list(out.parent.iterdir())
