"""Make the WordNet shards beside this file: glosses from one pinned Debian package (6.5 MB, WordNet's own licence).

    python data_shards/wordnet/build.py                       # downloads with apt-get, unpacks with dpkg; no root
    python data_shards/wordnet/build.py --packages FOLDER     # where the .deb file is already

Elsewhere than on Debian, fetch it from https://deb.debian.org/debian/pool/main/w/wordnet/.

A sample is a synset: "word, word: gloss". Examples, which stand in quotes behind a gloss, are left out of the text
and kept in the JSON member. A split is drawn by the first word, so that all of its senses stay on one side. The
licence, which wants to go with every copy, is written beside the tars. The package is pinned by digest.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmpretrain.data.convert.members import to_json
from mmpretrain.data.fingerprints import normalise_caption
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.from_packages import DebianPackage, main

PACKAGES = [
    DebianPackage(
        name="wordnet-base",
        version="1:3.0-37",
        digest="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    )
]
FOLDER = Path("usr/share/wordnet")
PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
"""Files data.PART, and the letter that a synset's name begins with."""
HELD_OUT = 5
"""Percent of the first words in val, and again in test."""
LICENCE = "LICENCE.txt"


class Synset(NamedTuple):
    """Words of one meaning."""

    key: str
    words: list[str]
    gloss: str
    examples: list[str]

    @property
    def text(self) -> str:
        return f"{', '.join(self.words)}: {self.gloss}"

    @property
    def facts(self) -> dict[str, Any]:
        return {"words": self.words, "gloss": self.gloss, "examples": self.examples}


def read_synset(line: str, letter: str) -> Synset:
    """A line of a data file: `offset lexicographer type count word id word id ... | gloss; "example"` (man wndb)."""
    data, _, told = line.partition(" | ")
    offset, _, _, count, *rest = data.split(" ")
    words = [plain_word(word) for word in rest[: 2 * int(count, 16) : 2]]
    parts = [part.strip() for part in re.split(r';\s*(?=")', told.strip())]
    examples = [part for part in parts if part.startswith('"')]
    gloss = "; ".join(part for part in parts if not part.startswith('"'))
    return Synset(f"{letter}{offset}", words, gloss, examples)


def plain_word(word: str) -> str:
    """`take_a_breath` with spaces; `(a)`, `(p)`, `(ip)` say where an adjective may stand."""
    return re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ")


def read_synsets(folder: Path) -> Iterator[Synset]:
    """Every synset, part of speech after part of speech; lines of the licence begin with two spaces."""
    for part, letter in PARTS.items():
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):
                yield read_synset(line, letter)


def split_of(word: str) -> str:
    """train, val or test, by a hash of the word without case and signs."""
    lot = hashlib.sha256(normalise_caption(word).encode()).digest()[0] * 100 // 256
    return "test" if lot < HELD_OUT else "val" if lot < 2 * HELD_OUT else "train"


def licence(folder: Path) -> str:
    """The notice at the head of every data file, without its line numbers."""
    head = [line for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines() if line.startswith("  ")]
    return "".join(f"{re.sub(r'^ +[0-9]+ ', '', line).rstrip()}\n" for line in head)


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write the shards; returns samples by split and what was left out by reason."""
    folder, counts, left_out = root / FOLDER, Counter({"train": 0, "val": 0, "test": 0}), Counter[str]()
    (out / LICENCE).write_text(licence(folder), encoding="utf-8")
    synsets = list(read_synsets(folder))
    for split in counts:
        with ShardWriter(out, split) as writer:
            for synset in synsets:
                if split_of(synset.words[0]) != split:
                    continue
                if synset.gloss:
                    writer.write(synset.key, {"txt": synset.text.encode(), "json": to_json(synset.facts)})
                else:
                    left_out["no_gloss"] += 1
            counts[split] = writer.samples
    return counts, left_out


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, PACKAGES, "synsets", build)
