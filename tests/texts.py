"""A small set of real texts for tests: the topics of Python's own help, packed into passages."""

from pathlib import Path
from pydoc_data.topics import topics

from rich.console import Console

from mmpretrain.recipes.datasets.pack import Pack, pack
from mmpretrain.recipes.datasets.split import split

TOPICS = 24
WORDS = 16


def pack_topics(folder: Path) -> Path:
    """The first topics as documents, cut into passages, whole documents held out; returns the dataset's folder."""
    quiet, texts = Console(quiet=True), folder / "topics"
    texts.mkdir(parents=True)
    for name in sorted(topics)[:TOPICS]:
        (texts / f"{name}.txt").write_text(topics[name], encoding="utf-8")
    # topics of a few words have no second passage
    pack(Pack(source=texts, out=folder / "whole", layout="documents", passage_words=WORDS, max_bad=0.5), quiet)
    shares = {"val": 0.2, "test": 0.1}
    split(str(folder / "whole"), str(folder / "passages"), shares, 0, ["caption"], {}, 0, quiet)
    return folder / "passages"
