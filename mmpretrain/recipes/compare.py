"""Two recipes on the same data: the difference of each figure with a paired interval, of recalls query by query."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.evaluation.interval import Figure, figure, resampled
from mmpretrain.evaluation.ranking import DIRECTIONS
from mmpretrain.evaluation.retrieval import KS
from mmpretrain.recipes.compare_samples import compare_samples, names_of, samples_table, sign_flip_p, spread_of


class Searched(NamedTuple):
    """What the runs of one recipe say of one direction in one gallery."""

    ranks: np.ndarray
    """Of each query, runs x queries."""
    pictures: np.ndarray
    """Which picture of the gallery each query is, or was said of."""


Searches = dict[tuple[str, str], Searched]
"""By direction and gallery."""


def compare(ours: Sequence[Path], theirs: Sequence[Path], console: Console) -> list[dict[str, Any]]:
    """Print what every evaluation that all runs have says of each group of runs, and their difference.

    Args:
        ours: runs of one recipe, usually one a seed.
        theirs: runs of the other.

    Raises:
        ConfigError: the runs have no evaluation in common, or not of the same samples.
    """
    every = (*ours, *theirs)
    splits = sorted(set.intersection(*(splits_of(path) for path in every)))
    tasks = sorted(set.intersection(*(names_of(path) for path in every)))
    if not splits and not tasks:
        raise ConfigError("compare: the runs have no evaluated split in common; evaluate each on the same one first")
    searches = [record for split in splits for record in compare_split(split, ours, theirs)]
    samples = [record for name in tasks for record in compare_samples(name, ours, theirs)]
    if searches:
        console.print(table(searches))
    if samples:
        console.print(samples_table(samples))
    told = f"over {len(ours)} and {len(theirs)} runs" if len(every) > 2 else "of one run each"
    console.print(
        f"percent (CIDEr in points) ± standard deviation {told}; difference with its 95 % paired interval; R@K: times "
        "chance; p: paired sign-flip test, two-sided",
        soft_wrap=True,
    )
    return [*searches, *samples]


def table(records: list[dict[str, Any]]) -> Table:
    """A row a metric, narrow enough for a terminal of 80 columns."""
    shown = Table("split", "metric", "ours", "theirs", "difference", "p", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for record in records:
        value = record["difference"]
        cells = [cell(record[name], record[f"{name}_spread"], record["chance"]) for name in ("ours", "theirs")]
        interval = f"{100 * value['value']:+.1f} [{100 * value['low']:+.1f} {100 * value['high']:+.1f}]"
        shown.add_row(record["split"], record["metric"], *cells, Text(interval), f"{record['p']:.4f}")
    return shown


def cell(value: float, spread: float, chance: float) -> str:
    """A mean in percent, its spread over runs where there are several, and how many times chance it is."""
    factor = value / chance
    scatter = f" ± {100 * spread:.1f}" if spread else ""
    return f"{100 * value:.1f}{scatter} ({factor:.{0 if factor >= 10 else 1}f}x)"


def splits_of(folder: Path) -> set[str]:
    found = Run.open(folder).predictions.glob("retrieval_*.json")
    return {path.stem.removeprefix("retrieval_") for path in found}


def compare_split(split: str, ours: Sequence[Path], theirs: Sequence[Path]) -> list[dict[str, Any]]:
    """One record for each direction, and for both together, and for each K."""
    left, right = (stack(split, runs) for runs in (ours, theirs))
    if asked_of(left) != asked_of(right):
        raise other_searches(split, theirs[0], ours[0])
    records = []
    for direction in (*DIRECTIONS, "mean"):
        chosen = DIRECTIONS if direction == "mean" else (direction,)
        for k in KS:
            one, other = (mean_of(side, chosen, k) for side in (left, right))
            chances = [chance_of(ours[0], split, f"{each}_R@{k}") for each in chosen]
            records.append(
                {
                    "task": "retrieval",
                    "split": split,
                    "metric": f"{direction}_R@{k}",
                    "ours": float(one.mean()),
                    "ours_spread": spread_of(one),
                    "theirs": float(other.mean()),
                    "theirs_spread": spread_of(other),
                    "chance": float(np.mean(chances)),
                    "difference": paired(left, right, chosen, k).as_dict(),
                    "p": sign_flip_p(parts_of(left, right, chosen, k)),
                }
            )
    return records


def stack(split: str, runs: Sequence[Path]) -> Searches:
    """The searches of all runs of one recipe, query by query.

    Raises:
        ConfigError: one of them searched with other queries.
    """
    first, *others = (searches_of(split, run) for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        if asked_of(other) != asked_of(first):
            raise other_searches(split, run, runs[0])
    return {
        key: Searched(
            ranks=np.concatenate([each.ranks, *(other[key].ranks for other in others)]), pictures=each.pictures
        )
        for key, each in first.items()
    }


def searches_of(split: str, run: Path) -> Searches:
    """Those of one run."""
    found = {}
    for entry in json.loads((Run.open(run).predictions / f"retrieval_{split}.json").read_text())["ranks"]:
        ranks = np.array([entry["ranks"]])
        # results of earlier versions have one text a picture
        pictures = np.array(entry.get("pictures", range(ranks.shape[1])))
        found[entry["direction"], entry["gallery"]] = Searched(ranks=ranks, pictures=pictures)
    return found


def asked_of(searches: Searches) -> dict[Any, list[int]]:
    """Which picture each query is of."""
    return {key: each.pictures.tolist() for key, each in searches.items()}


def other_searches(split: str, one: Path, other: Path) -> ConfigError:
    return ConfigError(
        f"compare: {one} searched {split} with other queries or galleries than {other}; evaluate them on the same data "
        "with the same version"
    )


def mean_of(searches: Searches, directions: Sequence[str], k: int) -> np.ndarray:
    """R@K of each run; every gallery and direction weighs the same."""
    own = [each.ranks < k for (direction, _), each in searches.items() if direction in directions]
    return np.mean([hits.mean(axis=1) for hits in own], axis=0)


def paired(ours: Searches, theirs: Searches, directions: Sequence[str], k: int) -> Figure:
    """The difference, with an interval over pictures: both recipes, and a picture's texts, are resampled alike."""
    by_gallery, n = [], 0
    for seed, gallery in enumerate(sorted({gallery for _, gallery in ours})):
        statistics = []
        for direction in directions:
            one, other = ours[direction, gallery], theirs[direction, gallery]
            difference_Q = (one.ranks < k).mean(axis=0) - (other.ranks < k).mean(axis=0)
            statistics.append(mean_by_picture(difference_Q, one.pictures))
            n += len(difference_Q)
        pictures = ours["i2t", gallery].ranks.shape[1]
        drawn = resampled(lambda weights_RP: average(statistics, weights_RP), pictures, seed)["mean"]  # noqa: B023
        by_gallery.append((average(statistics, np.ones((1, pictures)))["mean"][0], drawn))
    value = float(np.mean([whole for whole, _ in by_gallery]))
    return figure(value, np.mean([drawn for _, drawn in by_gallery], axis=0), 0.0, n)


def parts_of(ours: Searches, theirs: Searches, directions: Sequence[str], k: int) -> np.ndarray:
    """What each picture, with its texts, adds to the difference: the sum is the difference."""
    galleries = sorted({gallery for _, gallery in ours})
    parts = []
    for gallery in galleries:
        part_P = np.zeros(ours["i2t", gallery].ranks.shape[1])
        for direction in directions:
            one, other = ours[direction, gallery], theirs[direction, gallery]
            difference_Q = (one.ranks < k).mean(axis=0) - (other.ranks < k).mean(axis=0)
            part_P += np.bincount(one.pictures, difference_Q, len(part_P)) / len(difference_Q)
        parts.append(part_P / len(directions) / len(galleries))
    return np.concatenate(parts)


def mean_by_picture(value_Q: np.ndarray, picture_Q: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The mean over queries where pictures are drawn with all that is asked of them: weights_RP -> R."""
    sums_P = np.bincount(picture_Q, weights=value_Q)
    counts_P = np.bincount(picture_Q).astype(float)
    return lambda weights_RP: weights_RP @ sums_P / (weights_RP @ counts_P)


def average(statistics: Sequence[Callable[[np.ndarray], np.ndarray]], weights_RP: np.ndarray) -> dict[str, np.ndarray]:
    """The mean of several means of the same pictures."""
    return {"mean": np.mean([statistic(weights_RP) for statistic in statistics], axis=0)}


def chance_of(folder: Path, split: str, metric: str) -> float:
    """What guessing reaches; a fact of the galleries, so any run tells it."""
    place = Run.open(folder)
    asked = json.loads((place.predictions / f"retrieval_{split}.json").read_text())
    wanted = ("retrieval", asked["dataset"], asked["split"])
    records = [r for r in read_json_lines(place.results) if (r["task"], r["dataset"], r["split"]) == wanted]
    return float(records[-1]["metrics"][metric]["chance"])
