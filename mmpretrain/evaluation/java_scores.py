"""METEOR and SPICE, which are programs of others in Java: computed where they run, and if not, it is said why."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.phases import progress
from mmpretrain.evaluation.caption_tokens import package

JavaScore = Literal["METEOR", "SPICE"]
SILENT = "_"
"""Stands for a caption without words, which METEOR's protocol has no line for; it is in no reference."""
SECONDS = 60
"""Longest that Java may take to say its version."""
FILES: dict[JavaScore, tuple[str, ...]] = {
    "METEOR": ("meteor/meteor-1.5.jar", "meteor/data/paraphrase-en.gz"),
    "SPICE": (
        "spice/spice-1.0.jar",
        "spice/lib/stanford-corenlp-3.6.0.jar",
        "spice/lib/stanford-corenlp-3.6.0-models.jar",
    ),
}
"""What each of them needs, below the folder of pycocoevalcap."""


class Overall(NamedTuple):
    """A score of a whole set, and of each picture alone."""

    value: float
    parts_N: np.ndarray


def reasons_against(wanted: Sequence[JavaScore]) -> dict[str, str]:
    """Why each of the scores that cannot be computed here cannot be; without Java, or without its files."""
    found = {name: reason(name) for name in wanted}
    return {name: why for name, why in found.items() if why}


def reason(name: JavaScore) -> str:
    """Empty where nothing speaks against it."""
    if shutil.which("java") is None:
        return "there is no java on the PATH"
    # SPICE would download its models unasked
    missing = [file for file in FILES[name] if not (package() / file).is_file()]
    if missing:
        return f"{package() / missing[0]} is missing"
    version = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=SECONDS, check=False)
    return "" if version.returncode == 0 else f"java does not run: {version.stderr.strip()[:200]}"


def compute(name: JavaScore, written: Sequence[str], references: Sequence[Sequence[str]]) -> Overall:
    """The score of tokenized captions.

    Raises:
        MmpretrainError: the program failed.
    """
    given = {place: [caption or SILENT] for place, caption in enumerate(written)}
    right = {place: list(several) for place, several in enumerate(references)}
    try:
        with progress.opaque():
            return SCORERS[name](right, given)
    except Exception as error:  # whatever others' programs do, the other scores stand
        raise MmpretrainError(f"{type(error).__name__}: {error}"[:300]) from error


def _meteor(right: dict[int, list[str]], given: dict[int, list[str]]) -> Overall:
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    try:
        value, parts = scorer.compute_score(right, given)
    finally:
        # where its program fails it keeps its lock, and its destructor would wait for that for ever, then complain
        if scorer.lock.locked():
            scorer.lock.release()
        with contextlib.suppress(OSError):
            scorer.meteor_p.stdin.close()
    return Overall(float(value), np.asarray(parts))


def _spice(right: dict[int, list[str]], given: dict[int, list[str]]) -> Overall:
    from pycocoevalcap.spice.spice import Spice

    value, parts = Spice().compute_score(right, given)
    return Overall(float(value), np.array([part["All"]["f"] for part in parts]))


Scorer = Callable[[dict[int, list[Any]], dict[int, list[Any]]], Overall]
SCORERS: dict[str, Scorer] = {"METEOR": _meteor, "SPICE": _spice}
