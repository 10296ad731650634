"""Recipes from Debian packages, with a package made here."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import sha256
from mmpretrain.recipes.from_debian import Package, main, unpack

CONTROL = "Package: toy\nVersion: 1.0\nArchitecture: all\nMaintainer: Ada <ada@example.org>\nDescription: toy\n"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not here")
    (tmp_path / "toy" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "toy" / "DEBIAN" / "control").write_text(CONTROL)
    (tmp_path / "toy" / "novel.txt").write_text("It begins.")
    (tmp_path / "debs").mkdir()
    file = tmp_path / "debs" / "toy_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(tmp_path / "toy"), str(file)], check=True, capture_output=True)
    return Package(name="toy", version="1.0", digest=sha256(file))


def test_a_recipe_unpacks_builds_and_says_what_it_made(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
        (out / "train-00000.tar").write_text((root / "novel.txt").read_text())
        return Counter(train=3), Counter(too_short=2)

    monkeypatch.setattr(sys, "argv", ["build.py", "--packages", str(tmp_path / "debs"), "--out", str(tmp_path / "out")])
    main("Toys.", tmp_path, [package], "texts", build)
    told = capsys.readouterr().out
    assert "train 3 of 3 texts" in told
    assert "left out: 2 too_short" in told
    assert (tmp_path / "out" / "train-00000.tar").read_text() == "It begins."


def test_another_package_than_the_pinned_one_is_refused(package: Package, tmp_path: Path):
    other = Package(name="toy", version="1.0", digest="0" * 64)
    with pytest.raises(DataError, match=r"needs one toy_\*\.deb, version 1\.0 with SHA-256 0000"):
        unpack([other], tmp_path / "debs", tmp_path / "files")
    with pytest.raises(DataError, match=r"needs one toy_\*\.deb"):
        unpack([package], tmp_path / "toy", tmp_path / "files")
