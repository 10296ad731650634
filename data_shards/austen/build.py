"""Make the Austen shards beside this file: six novels from one pinned Debian package (1.6 MB, public domain).

    pip install -e ".[texts]"                                # rdata, which reads the package's R data base
    python data_shards/austen/build.py                       # downloads with apt-get, unpacks with dpkg; no root
    python data_shards/austen/build.py --packages FOLDER     # where the .deb file is already

Elsewhere than on Debian, fetch it from https://deb.debian.org/debian/pool/main/r/r-cran-janeaustenr/.

A sample is a passage of whole sentences, of 48 words at most, with the one that follows it in its novel. Front
matter, headings of chapters and volumes, remarks of editors, and the underscores that stand for italics are left
out. Whole novels are held out. The package is pinned by digest; the same package gives the same bytes.
"""

import re
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from mmpretrain.data.convert.members import to_json
from mmpretrain.data.convert.passages import passages
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.from_packages import DebianPackage, main

PACKAGES = [
    DebianPackage(
        name="r-cran-janeaustenr",
        version="1.0.0-1",
        digest="df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
    )
]
FOLDER = Path("usr/lib/R/site-library/janeaustenr/data")
SPLITS = {
    "train": ("emma", "mansfieldpark", "prideprejudice", "sensesensibility"),
    "val": ("northangerabbey",),
    "test": ("persuasion",),
}
WORDS = 48
"""Of a passage at most: 99 of 100 fit into 72 pieces of a vocabulary of 8,192, and two of them into one short row."""
_HEADING = re.compile(r"\s*(chapter|volume)\s+[\divxl]+\.?\s*", re.IGNORECASE)
_CLOSE = re.compile(r"\s*(finis|the end|a note on the text)\s*", re.IGNORECASE)
# "[End volume one of this edition.", "* * *", "*Vide a letter from Mr. Richardson"
_REMARK = re.compile(r"\s*(\[(End|At) |\*)")


def read_novels(folder: Path) -> dict[str, list[str]]:
    """The lines of each novel from R's lazy-load data base: an index of (offset, length) into zlib streams."""
    import rdata

    def parsed(stream: bytes) -> dict | Sequence[str]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unknown file type")  # streams inside a data base have no mark
            return rdata.conversion.convert(rdata.parser.parse_data(stream))

    index = parsed((folder / "Rdata.rdx").read_bytes())
    streams = (folder / "Rdata.rdb").read_bytes()
    # four bytes in front of a stream say how long it is once inflated
    return {
        str(name): [str(line) for line in parsed(zlib.decompress(streams[offset + 4 : offset + length]))]
        for name, (offset, length) in index["variables"].items()
    }


def body(lines: Sequence[str]) -> str:
    """A novel from its first chapter to its last sentence, without headings and remarks.

    Raises:
        ValueError: no line is the heading of a chapter.
    """
    first = next((place for place, line in enumerate(lines) if line.strip().lower().startswith("chapter ")), None)
    if first is None:
        raise ValueError("no heading of a chapter")
    kept = []
    for line in lines[first:]:
        if _CLOSE.fullmatch(line):
            break
        if not _HEADING.fullmatch(line) and not _REMARK.match(line):
            kept.append(line.replace("_", ""))
    return "\n".join(kept)


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write the shards; returns samples by split and what was left out."""
    novels = read_novels(root / FOLDER)
    return write_shards({name: body(lines) for name, lines in novels.items()}, out), Counter()


def write_shards(texts: dict[str, str], out: Path) -> Counter[str]:
    """A shard for each split; returns how many passages each has. A novel's last passage is nobody's first."""
    counts: Counter[str] = Counter()
    for split, names in SPLITS.items():
        with ShardWriter(out, split) as writer:
            for name in names:
                for place, (passage, following) in enumerate(pairwise(passages(texts[name], WORDS))):
                    facts = {"document": name, "place": place, "next": following}
                    writer.write(f"{name}-{place:05d}", {"txt": passage.encode(), "json": to_json(facts)})
            counts[split] = writer.samples
    return counts


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, PACKAGES, "passages", build)
