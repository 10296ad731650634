"""Words of captions as caption scores count them: the Penn Treebank's by Stanford's program, or nearly so without Java.

Scores of the two are never compared: a result says which one it counted by.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mmpretrain.core.errors import ConfigError, MmpretrainError

Kind = Literal["ptb", "approx"]
PACKAGE = 'captioning: needs pycocoevalcap; pip install -e ".[captions]"'
SECONDS = 600
"""Longest that the program may take."""
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""Left out of the Treebank's tokens, as COCO's evaluation does; it means to leave brackets out too, and does not, for
it looks for them in capitals."""
BRACKETS = dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True))
_NOT = re.compile(r"(?<=\w)n['’]t(?!\w)")
_CLITIC = re.compile(r"(?<=\w)['’](s|re|ve|ll|d|m)(?!\w)")
_TOKEN = re.compile(r"n't(?!\w)|'(?:s|re|ve|ll|d|m)(?!\w)|\w+(?:[-.,:/'’]\w+)*|[^\w\s\"“”‘’…–—]")


def package() -> Path:
    """Where pycocoevalcap is installed.

    Raises:
        ConfigError: it is not.
    """
    try:
        import pycocoevalcap
    except ImportError as error:
        raise ConfigError(PACKAGE) from error
    return Path(next(iter(pycocoevalcap.__path__)))


def stanford() -> Path:
    """The program that comes with pycocoevalcap."""
    return package() / "tokenizer" / "stanford-corenlp-3.4.1.jar"


def choose_kind(wanted: Kind | Literal["best"]) -> Kind:
    """The Treebank's where it is wanted or best, and runs.

    Raises:
        ConfigError: it is wanted, and there is no Java; or no pycocoevalcap for either.
    """
    runs = stanford().is_file() and shutil.which("java") is not None
    if wanted == "ptb" and not runs:
        raise ConfigError("evaluation: captioning with tokenizer=ptb needs java on the PATH; use tokenizer=approx")
    return "ptb" if runs and wanted != "approx" else "approx"


def tokenize(captions: Sequence[str], kind: Kind) -> list[str]:
    """Each caption in lower case, its words apart by spaces, punctuation left out.

    Raises:
        MmpretrainError: Java failed.
    """
    captions = [" ".join(caption.split()) for caption in captions]  # one line each
    return treebank(captions) if kind == "ptb" else [approximate(caption) for caption in captions]


def approximate(caption: str) -> str:
    """The Treebank's rules for most of English: contractions apart, words with a hyphen as one."""
    apart = _CLITIC.sub(r" '\1", _NOT.sub(" n't", caption.lower()))
    tokens = _TOKEN.findall(apart)
    return " ".join(BRACKETS.get(token, token) for token in tokens if token not in PUNCTUATION)


def treebank(captions: Sequence[str]) -> list[str]:
    """By Stanford's tokenizer, version 3.4.1, all at once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "captions.txt"
        file.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(stanford()), "edu.stanford.nlp.process.PTBTokenizer"]
        try:
            done = subprocess.run(
                [*command, "-preserveLines", "-lowerCase", str(file)], capture_output=True, timeout=SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MmpretrainError(
                f"captioning: Java could not tokenize ({error}); evaluate with tokenizer=approx"
            ) from error
    lines = done.stdout.decode("utf-8").split("\n")
    if len(lines) < len(captions):
        raise MmpretrainError("captioning: Java tokenized too few lines; evaluate with tokenizer=approx")
    kept = ([token for token in line.split() if token not in PUNCTUATION] for line in lines[: len(captions)])
    return [" ".join(tokens) for tokens in kept]
