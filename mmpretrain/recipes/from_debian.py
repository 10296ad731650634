"""What the `build.py` of several datasets share: pinned Debian packages in, shards out, no root."""

import argparse
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.core.errors import DataError, MmpretrainError
from mmpretrain.core.files import sha256

Build = Callable[[Path, Path], tuple[Counter[str], Counter[str]]]
"""(folder with the unpacked packages, folder for the tars) -> samples by split, and what was left out by reason."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package at the one version that a recipe is for."""

    name: str
    version: str
    digest: str
    """SHA-256 of the .deb file."""


def download(packages: Sequence[Package], folder: Path) -> None:
    """Raises DataError: the mirrors that apt-get knows have another version, or none."""
    for package in packages:
        wanted = f"{package.name}={package.version}"
        if subprocess.run(["apt-get", "download", wanted], cwd=folder, check=False).returncode:
            raise DataError(f"apt-get has no {wanted}: `apt-get update`, or fetch it and use --packages")


def unpack(packages: Sequence[Package], source: Path, folder: Path) -> Path:
    """The packages' files below `folder`, each checked first.

    Raises:
        DataError: a package is not in `source`, or is another one.
    """
    for package in packages:
        files = sorted(source.glob(f"{package.name}_*.deb"))
        if len(files) != 1 or sha256(files[0]) != package.digest:
            raise DataError(
                f"{source}: needs one {package.name}_*.deb, version {package.version} with SHA-256 {package.digest}"
            )
        subprocess.run(["dpkg", "-x", str(files[0]), str(folder)], check=True)
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
    parser.add_argument("--packages", type=Path, help="folder with the .deb files, instead of downloading them")
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
