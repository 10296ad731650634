"""Two recipes on the same queries: the difference of each recall with a paired interval."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.evaluation.interval import Figure, bootstrap_means, figure
from mmpretrain.evaluation.retrieval import KS

DIRECTIONS = ("i2t", "t2i")
Ranks = dict[tuple[str, str], np.ndarray]
"""(direction, gallery) -> rank of each query, for each run: runs x queries."""


def compare(ours: Sequence[Path], theirs: Sequence[Path], console: Console) -> list[dict[str, Any]]:
    """Print, for every split that all runs have, the mean recall of each group of runs and their difference.

    Args:
        ours: runs of one recipe, usually one a seed.
        theirs: runs of the other.

    Raises:
        ConfigError: a run has no retrieval results, or searched other galleries.
    """
    splits = sorted(set.intersection(*(splits_of(path) for path in (*ours, *theirs))))
    if not splits:
        raise ConfigError("compare: the runs have no retrieval split in common; evaluate each on the same one first")
    records = [record for split in splits for record in compare_split(split, ours, theirs)]
    console.print(table(records))
    console.print(
        "R@K in percent ± standard deviation over "
        f"{len(ours)} and {len(theirs)} runs (times chance); difference with its 95 % paired interval over queries",
        soft_wrap=True,
    )
    return records


def table(records: list[dict[str, Any]]) -> Table:
    """A row a metric, narrow enough for a terminal of 80 columns."""
    shown = Table("split", "metric", "ours", "theirs", "difference", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for record in records:
        value = record["difference"]
        cells = [cell(record[name], record[f"{name}_spread"], record["chance"]) for name in ("ours", "theirs")]
        interval = f"{100 * value['value']:+.1f} [{100 * value['low']:+.1f} {100 * value['high']:+.1f}]"
        shown.add_row(record["split"], record["metric"], *cells, Text(interval))
    return shown


def cell(value: float, spread: float, chance: float) -> str:
    """A mean in percent, its spread and how many times chance it is."""
    factor = value / chance
    return f"{100 * value:.1f} ± {100 * spread:.1f} ({factor:.{0 if factor >= 10 else 1}f}x)"


def splits_of(folder: Path) -> set[str]:
    found = Run.open(folder).predictions.glob("retrieval_*.json")
    return {path.stem.removeprefix("retrieval_") for path in found}


def compare_split(split: str, ours: Sequence[Path], theirs: Sequence[Path]) -> list[dict[str, Any]]:
    """One record for each direction, and for both together, and for each K."""
    left, right = (stack(split, runs) for runs in (ours, theirs))
    if {key: value.shape[1] for key, value in left.items()} != {key: value.shape[1] for key, value in right.items()}:
        raise ConfigError(f"compare: the runs searched other galleries of {split}; evaluate them on the same data")
    records = []
    for direction in (*DIRECTIONS, *(["mean"] if is_paired(left) else [])):
        for k in KS:
            one, other = hits(left, direction, k), hits(right, direction, k)
            chances = [chance_of(ours[0], split, f"{d}_R@{k}") for d in DIRECTIONS if direction in (d, "mean")]
            records.append(
                {
                    "split": split,
                    "metric": f"{direction}_R@{k}",
                    "ours": mean_of(one),
                    "ours_spread": spread_of(one),
                    "theirs": mean_of(other),
                    "theirs_spread": spread_of(other),
                    "chance": float(np.mean(chances)),
                    "difference": paired(one, other).as_dict(),
                }
            )
    return records


def is_paired(ranks: Ranks) -> bool:
    """Whether every gallery was searched with as many pictures as texts, so that rows are pairs."""
    return all(ranks["i2t", gallery].shape == ranks["t2i", gallery].shape for _, gallery in ranks)


def hits(ranks: Ranks, direction: str, k: int) -> list[np.ndarray]:
    """For each gallery 1 where a query's match is among the first k, runs x queries.

    `mean` is the mean over both directions of each pair: a pair is drawn as one, or its interval came out too narrow.
    """
    chosen = DIRECTIONS if direction == "mean" else (direction,)
    galleries = sorted({gallery for _, gallery in ranks})
    return [np.mean([(ranks[d, gallery] < k).astype(float) for d in chosen], axis=0) for gallery in galleries]


def stack(split: str, runs: Sequence[Path]) -> Ranks:
    """The ranks of all runs of one recipe, query by query."""
    files = [json.loads((Run.open(run).predictions / f"retrieval_{split}.json").read_text()) for run in runs]
    keys = [(entry["direction"], entry["gallery"]) for entry in files[0]["ranks"]]
    return {key: np.array([file["ranks"][place]["ranks"] for file in files]) for place, key in enumerate(keys)}


def chance_of(folder: Path, split: str, metric: str) -> float:
    """What guessing reaches; a fact of the galleries, so any run tells it."""
    place = Run.open(folder)
    asked = json.loads((place.predictions / f"retrieval_{split}.json").read_text())
    wanted = ("retrieval", asked["dataset"], asked["split"])
    records = [r for r in read_json_lines(place.results) if (r["task"], r["dataset"], r["split"]) == wanted]
    return float(records[-1]["metrics"][metric]["chance"])


def mean_of(galleries: list[np.ndarray]) -> float:
    """Mean over runs and queries, each gallery weighing the same."""
    return float(np.mean([hits.mean() for hits in galleries]))


def spread_of(galleries: list[np.ndarray]) -> float:
    """Standard deviation over runs; 0 for a single run."""
    by_run = np.mean([hits.mean(axis=1) for hits in galleries], axis=0)
    return float(by_run.std(ddof=1)) if len(by_run) > 1 else 0.0


def paired(ours: list[np.ndarray], theirs: list[np.ndarray]) -> Figure:
    """The difference, with an interval over queries: both recipes are resampled alike."""
    differences = [one.mean(axis=0) - other.mean(axis=0) for one, other in zip(ours, theirs, strict=True)]
    resampled = np.mean([bootstrap_means(part, seed) for seed, part in enumerate(differences)], axis=0)
    value = float(np.mean([part.mean() for part in differences]))
    return figure(value, resampled, 0.0, sum(len(part) for part in differences))
