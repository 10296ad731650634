"""Recipes from packages, with packages made here."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from mmpretrain.core.errors import DataError
from mmpretrain.core.files import sha256
from mmpretrain.recipes.sources.from_packages import DebianPackage, NpmPackage, Wheel, download, main, unpack

CONTROL = "Package: toy\nVersion: 1.0\nArchitecture: all\nMaintainer: Ada <ada@example.org>\nDescription: toy\n"


@pytest.fixture
def package(tmp_path: Path) -> DebianPackage:
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not here")
    (tmp_path / "toy" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "toy" / "DEBIAN" / "control").write_text(CONTROL)
    (tmp_path / "toy" / "novel.txt").write_text("It begins.")
    (tmp_path / "debs").mkdir()
    file = tmp_path / "debs" / "toy_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(tmp_path / "toy"), str(file)], check=True, capture_output=True)
    return DebianPackage(name="toy", version="1.0", digest=sha256(file))


def test_a_recipe_unpacks_builds_and_says_what_it_made(
    package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
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


def test_another_package_than_the_pinned_one_is_refused(package: DebianPackage, tmp_path: Path):
    other = DebianPackage(name="toy", version="1.0", digest="0" * 64)
    with pytest.raises(DataError, match=r"needs one toy_\*\.deb, version 1\.0 with SHA-256 0000"):
        unpack([other], tmp_path / "debs", tmp_path / "files")
    with pytest.raises(DataError, match=r"needs one toy_\*\.deb"):
        unpack([package], tmp_path / "toy", tmp_path / "files")


def test_wheels_and_npm_packages_are_unpacked_and_nothing_of_them_runs(tmp_path: Path):
    wheel, tarball = tmp_path / "toy_words-1.0-py3-none-any.whl", tmp_path / "ada-toys-2.0.tgz"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy_words/words.txt", "one two")
    (tmp_path / "icons.json").write_text("{}")
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(tmp_path / "icons.json", "package/icons.json")
    packages = [
        Wheel(name="toy-words", version="1.0", digest=sha256(wheel)),
        NpmPackage(name="@ada/toys", version="2.0", digest=sha256(tarball)),
    ]
    root = unpack(packages, tmp_path, tmp_path / "files")
    assert (root / "toy_words" / "words.txt").read_text() == "one two"
    assert (root / "@ada" / "toys" / "package" / "icons.json").read_text() == "{}"


def test_a_package_that_cannot_be_fetched_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"failed: npm pack .*; fetch @ada/toys 2\.0 yourself and use --packages"):
        download([NpmPackage(name="@ada/toys", version="2.0", digest="")], tmp_path)
