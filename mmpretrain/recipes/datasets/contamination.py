"""How much of an evaluation split stands in other data."""

import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmpretrain.core.errors import ConfigError, QualityError
from mmpretrain.core.settings import build
from mmpretrain.data.duplicates import Near, find_duplicates
from mmpretrain.data.fingerprints import Fingerprints, shards_of
from mmpretrain.data.storage import Storage
from mmpretrain.recipes.looks import (
    Facts,
    hold_pictures,
    open_datasets,
    place_for,
    plural,
    read_fingerprints,
    say,
    say_damaged,
    write,
)

KINDS = {
    "bytes": "the same file",
    "pixels": "the same pixels",
    "near": "the same or nearly the same picture",
    "caption": "the same caption, once case and signs are dropped",
}
PICTURE, TEXT = "near", "caption"
"""What the share is taken of: every equal or near picture, because captions are often equal for good reason; of texts
alone every equal one."""


def contamination(
    training: str,
    evaluation: str,
    out: Path | None,
    near: dict[str, int],
    workers: int,
    console: Console,
    storage: Storage | None = None,
) -> Facts:
    """Count and name the samples of `evaluation` that stand in `training`.

    Args:
        training: `NAME` or `NAME:SPLIT`, as the next one.
        out: where the named samples go; None keeps them under runs/data.

    Raises:
        ConfigError: both name the same split.
    """
    ours, theirs = (open_datasets(name, storage, console) for name in (training, evaluation))
    both = {(d.folder.resolve(), d.split) for d in ours} & {(d.folder.resolve(), d.split) for d in theirs}
    if both:
        names = ", ".join(sorted(split for _, split in both))
        raise ConfigError(f"{training} and {evaluation} both hold {names}; name splits that differ, as NAME:train")
    pictures = hold_pictures([*ours, *theirs])
    prints = read_fingerprints(shards_of([*ours, *theirs]), workers, console, perceptual=pictures)
    theirs_N = prints.shard_N >= sum(len(dataset.shards) for dataset in ours)
    found = matches(prints, theirs_N, build(Near, near, "near"))
    if not pictures:
        found = {TEXT: found[TEXT]}
    out = out or place_for(theirs[0], f"contamination_{label(evaluation)}_in_{label(training)}.jsonl")
    write(out, "".join(f"{line}\n" for line in named(prints, found)))
    count = int(theirs_N.sum())
    facts: Facts = {
        "training": training,
        "evaluation": evaluation,
        "samples": count,
        "training_samples": len(prints) - count,
        "damaged": len(prints.faults),
        "kinds": {kind: {"samples": len(pairs), "share": len(pairs) / max(1, count)} for kind, pairs in found.items()},
        "share": len(found[PICTURE if pictures else TEXT]) / max(1, count),
        "noun": "picture" if pictures else "text",
        "file": str(out),
    }
    console.print(table(facts))
    say_damaged(prints, console)
    say(
        console,
        f"{out}: {100 * facts['share']:.2f} % of {plural(count, facts['noun'])} of {evaluation} stand in {training}. "
        f"next: mmpretrain data dedup, or data split where both are one dataset",
    )
    return facts


def label(name: str) -> str:
    """`path/NAME:SPLIT` as part of a file's name."""
    return Path(name).name.replace(":", "-")


def matches(prints: Fingerprints, theirs_N: np.ndarray, near: Near) -> dict[str, dict[int, int]]:
    """For each kind the evaluation samples that training holds as well: place -> place of one match in training."""
    equal = {
        "bytes": prints.bytes_N,
        "pixels": prints.pixels_N,
        "caption": prints.caption_N,
    }
    found = {kind: _equal_matches(values_N, theirs_N) for kind, values_N in equal.items()}
    duplicates = find_duplicates(prints, near)
    looks = dict(found["pixels"])
    # pairs are those of the first of equal pictures: each stands for all that equal it
    members: dict[int, list[int]] = {}
    for place, first in enumerate(duplicates.first_N.tolist()):
        members.setdefault(first, []).append(place)
    for left, right in duplicates.pairs.tolist():
        group, other = members[left], members[right]
        for here, there in ((group, other), (other, group)):
            match = next((place for place in there if not theirs_N[place]), None)
            if match is not None:
                looks |= {place: match for place in here if theirs_N[place] and place not in looks}
    return {"bytes": found["bytes"], "pixels": found["pixels"], "near": looks, "caption": found["caption"]}


def _equal_matches(values_N: np.ndarray, theirs_N: np.ndarray) -> dict[int, int]:
    ours = np.flatnonzero(~theirs_N)
    values, first = np.unique(values_N[ours], return_index=True)
    known = dict(zip(values.tolist(), ours[first].tolist(), strict=True))
    return {
        place: known[value]
        for place, value in zip(np.flatnonzero(theirs_N).tolist(), values_N[theirs_N].tolist(), strict=True)
        if value in known
    }


def named(prints: Fingerprints, found: dict[str, dict[int, int]]) -> list[str]:
    """One line a match: kind, the evaluation sample, the training sample."""
    return [
        json.dumps({"kind": kind, "sample": prints.name(place)._asdict(), "in": prints.name(match)._asdict()})
        for kind, pairs in found.items()
        for place, match in sorted(pairs.items())
    ]


def table(facts: Facts) -> Table:
    """The counts as a person reads them."""
    title = f"{facts['evaluation']} in {facts['training']}"
    shown = Table("in training stands", "samples", "share", title=title)
    for kind, row in facts["kinds"].items():
        shown.add_row(KINDS[kind], f"{row['samples']:,}", f"{100 * row['share']:.2f} %")
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown


def refuse_over(facts: Facts, most: float | None) -> None:
    """End with exit code 4 where more pictures than the given share are in training.

    Raises:
        QualityError: they are.
    """
    if most is not None and facts["share"] > most:
        raise QualityError(
            f"{facts['evaluation']}: {100 * facts['share']:.2f} % of its {facts['noun']}s stand in "
            f"{facts['training']}, at most {100 * most:g} % were allowed; {facts['file']} names them"
        )
