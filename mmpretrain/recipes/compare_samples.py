"""Two recipes on the same samples: the difference of each figure that is a mean over them, paired, with a p-value."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.settings import read_yaml
from mmpretrain.evaluation.interval import Figure, bootstrap_means, figure
from mmpretrain.evaluation.overlaps import mean_iou, resampled_sums
from mmpretrain.report import wording

FLIPS = 10_000
"""Random signs behind a p-value."""
DRAWN_AT_A_TIME = 4_000_000
SAME = ("tokenizer",)
"""Facts of a result without which its figures mean something else."""


def names_of(folder: Path) -> set[str]:
    """TASK_SPLIT of each evaluation of a run that kept a line a sample; those of retrieval are compared by ranks."""
    found = {path.stem for path in Run.open(folder).predictions.glob("*.jsonl")}
    return {name for name in found if not name.startswith("retrieval_")}


def compare_samples(name: str, ours: Sequence[Path], theirs: Sequence[Path]) -> list[dict[str, Any]]:
    """A record for each metric that all runs tell of each sample.

    Raises:
        ConfigError: the runs were asked about other samples, or scored by other rules.
    """
    results = [result_of(folder, name) for folder in (*ours, *theirs)]
    refuse_other_rules(name, results, (*ours, *theirs))
    lines = [read_json_lines(Run.open(folder).predictions / f"{name}.jsonl") for folder in (*ours, *theirs)]
    if len({tuple(line["key"] for line in each) for each in lines}) > 1:
        raise ConfigError(f"compare: the runs were asked about other samples of {name}; evaluate them on the same data")
    told = [metric for metric in results[0]["metrics"] if all(metric in each[0] for each in lines)]
    masks = [mask_record(results, [pixels_of(each) for each in lines], len(ours))] if "pixels" in lines[0][0] else []
    return [
        *masks,
        *(record(metric, results, [values(each, metric) for each in lines], len(ours)) for metric in told),
    ]


def result_of(folder: Path, name: str) -> dict[str, Any]:
    """The newest line of results.jsonl behind a file of predictions."""
    place = Run.open(folder)
    asked = json.loads((place.predictions / f"{name}.json").read_text(encoding="utf-8"))
    own = [
        each
        for each in read_json_lines(place.results)
        if (each["dataset"], each["split"]) == (asked["dataset"], asked["split"])
        and name.startswith(f"{each['task']}_")
        and each.get("head") == asked.get("head", each.get("head"))
    ]
    found: dict[str, Any] = own[-1]
    return found


def refuse_other_rules(name: str, results: Sequence[dict[str, Any]], folders: Sequence[Path]) -> None:
    """Raises ConfigError: figures of two runs do not mean the same."""
    for fact in SAME:
        found = [result.get(fact) for result in results]
        other = next((place for place, value in enumerate(found) if value != found[0]), None)
        if other is not None:
            raise ConfigError(
                f"compare: {name} was scored with {fact} {found[0]} in {folders[0]} and with {found[other]} in "
                f"{folders[other]}; evaluate both with {fact}=approx"
            )
    if results[0]["task"] == "held_out":
        refuse_other_words(name, folders)


def refuse_other_words(name: str, folders: Sequence[Path]) -> None:
    """Raises ConfigError: what is hidden or continued are tokens, and those of the runs are cut by other tokenizers."""
    first, *others = [(folder, tokenizer_of(folder)) for folder in folders]
    for folder, tokenizer in others:
        if tokenizer != first[1]:
            raise ConfigError(
                f"compare: {name}: {folder} asks about tokens of {tokenizer}, {first[0]} of {first[1]}; only runs with "
                "the same data.tokenizer are asked the same"
            )


def tokenizer_of(folder: Path) -> dict[str, Any] | None:
    """As the run's config has it."""
    config = read_yaml(Run.open(folder).config)
    found: dict[str, Any] | None = config["data"].get("tokenizer")
    return found


def values(lines: Sequence[dict[str, Any]], metric: str) -> np.ndarray:
    return np.array([float(line[metric]) for line in lines])


def pixels_of(lines: Sequence[dict[str, Any]]) -> np.ndarray:
    """What `overlaps` counted of each picture, N x 3 x C."""
    return np.array([line["pixels"] for line in lines])


def mask_record(results: Sequence[dict[str, Any]], columns: list[np.ndarray], own: int) -> dict[str, Any]:
    """The mIoU of both recipes: of sums over pictures, drawn alike for all runs; it is no mean and has no p-value."""
    by_run = np.array([mean_iou(column_N3C.sum(axis=0)[None])[0] for column_N3C in columns])
    drawn_TR = np.array([mean_iou(resampled_sums(column_N3C)) for column_N3C in columns])
    value = float(by_run[:own].mean() - by_run[own:].mean())
    difference = figure(value, drawn_TR[:own].mean(axis=0) - drawn_TR[own:].mean(axis=0), 0.0, len(columns[0]))
    return told_of("mIoU", results, by_run[:own], by_run[own:], difference, None)


def record(metric: str, results: Sequence[dict[str, Any]], columns: list[np.ndarray], own: int) -> dict[str, Any]:
    """One metric of both recipes.

    Args:
        own: how many of the columns are ours.
    """
    one, other = np.array(columns[:own]), np.array(columns[own:])
    difference_N = one.mean(axis=0) - other.mean(axis=0)
    found = figure(float(difference_N.mean()), bootstrap_means(difference_N), 0.0, len(difference_N))
    return told_of(metric, results, one.mean(axis=1), other.mean(axis=1), found, sign_flip_p(difference_N))


def told_of(
    metric: str,
    results: Sequence[dict[str, Any]],
    ours_R: np.ndarray,
    theirs_R: np.ndarray,
    difference: Figure,
    p: float | None,
) -> dict[str, Any]:
    """A record, from the figure of each run."""
    return {
        "task": results[0]["task"],
        "split": results[0]["split"],
        "metric": metric,
        "ours": float(ours_R.mean()),
        "ours_spread": spread_of(ours_R),
        "theirs": float(theirs_R.mean()),
        "theirs_spread": spread_of(theirs_R),
        "chance": results[0]["metrics"][metric]["chance"],
        "difference": difference.as_dict(),
        "p": p,
    }


def spread_of(by_run: np.ndarray) -> float:
    """Standard deviation over runs; 0 for a single run."""
    return float(by_run.std(ddof=1)) if len(by_run) > 1 else 0.0


def sign_flip_p(difference_N: np.ndarray, seed: int = 0) -> float:
    """How often the mean is as far from 0 where each sample's sign is a toss-up: Fisher's test, two-sided.

    (1 + as far) / (1 + tried): never 0, so that it is valid (Phipson and Smyth 2010).
    """
    differs_N = difference_N[difference_N != 0]  # the others add nothing, whatever their sign
    generator = np.random.default_rng(seed)
    reached, as_far = abs(differs_N.sum()), 0
    rows = max(1, DRAWN_AT_A_TIME // max(1, len(differs_N)))
    for start in range(0, FLIPS, rows):
        signs_RN = generator.integers(0, 2, size=(min(rows, FLIPS - start), len(differs_N))) * 2.0 - 1
        # sums in another order differ in their last bits
        as_far += int((np.abs(signs_RN @ differs_N) >= reached * (1 - 1e-12)).sum())
    return (1 + as_far) / (1 + FLIPS)


def samples_table(records: Sequence[dict[str, Any]]) -> Table:
    """A row a metric, narrow enough for a terminal of 80 columns."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("task", "split", "metric", "ours", "theirs", "difference", "p"):
        shown.add_column(heading)
    for each in records:
        name, value = each["metric"], each["difference"]
        cells = [cell(name, each[side], each[f"{side}_spread"]) for side in ("ours", "theirs")]
        interval = " ".join(number(name, value[end], "+") for end in ("low", "high"))
        told = Text(f"{number(name, value['value'], '+')} [{interval}]")
        shown.add_row(each["task"], each["split"], name, *cells, told, "" if each["p"] is None else f"{each['p']:.4f}")
    return shown


def cell(metric: str, value: float, spread: float) -> str:
    """A mean, and its spread over runs where there are several."""
    return f"{number(metric, value)} ± {number(metric, spread)}" if spread else number(metric, value)


def number(metric: str, value: float, sign: str = "") -> str:
    """Percent of what is a share, without its sign."""
    return f"{100 * value:{sign}.1f}" if wording.is_share(metric) else f"{value:{sign}.3f}"
