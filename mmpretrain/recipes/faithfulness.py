"""How faithful heat maps are: deletion, insertion and pointing on a split, beside a random order and a centre prior."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run
from mmpretrain.core.settings import digest
from mmpretrain.data.dataset import Dataset
from mmpretrain.explain.base import Maker
from mmpretrain.explain.build import method_named, suited
from mmpretrain.explain.faithfulness import CENTRE, RANDOM, Faithfulness, Tally, look, summarise, tallies_for
from mmpretrain.explain.fills import Fill
from mmpretrain.explain.heat import Explained
from mmpretrain.explain.texts import ask, ways
from mmpretrain.recipes.alone import Alone
from mmpretrain.recipes.explaining import captions_of, explained, load_run, open_for, samples_at, spread_over
from mmpretrain.recipes.looks import Facts

TASK = "explanation"
"""What results.jsonl calls it."""


def faithfulness(
    folder: Path, data: str, samples: int, methods: Sequence[str], fill: Fill, seed: int, console: Console
) -> Facts:
    """Measure methods on a split; a line of results.jsonl, and what was found of each picture beside it.

    The target is the similarity of a picture with its caption, less the mean of those with all captions of the split.

    Args:
        data: as `evaluate --data` takes it; empty: the run's val.
        samples: pictures, evenly spaced over the split.
        methods: by name; empty: the one that suits the run.

    Raises:
        ConfigError: no such method, one that does not suit the run, or a run without a common space.
    """
    place, began, how = Run.open(folder), time.perf_counter(), Faithfulness(fill=fill, seed=seed)
    alone = load_run(folder)
    module: Any = alone.engine.module
    if "similarity" not in ways(module):
        raise ConfigError(f"{folder}: pictures and texts share no space; faithfulness is measured of similarities")
    makers = {name: method_named(name, module.model) for name in methods or [suited(module.model)]}
    dataset = open_for(alone.config, data, console)
    captions = captions_of(alone.config, dataset)
    rows = spread_over(len(captions), samples)
    asked = explained(alone, sorted(set(captions)))
    keys, tallies = look_at_all(alone, asked, dataset, captions, rows, makers, how, console)
    record = {
        "dataset": dataset.folder.name,
        "split": dataset.split,
        "task": TASK,
        "step": alone.step,
        "seed": alone.config.train.seed,
        "config_digest": digest(alone.config),
        "seconds": round(time.perf_counter() - began, 3),
        "metrics": {name: each.as_dict() for name, each in summarise(tallies).items()},
        "methods": list(makers),
        "milliseconds": {name: round(1000 * float(np.median(tallies[name].seconds)), 2) for name in makers},
        "captions": len(set(captions)),
        "settings": {"fill": fill, "steps": how.steps, "draws": how.draws, "seed": seed},
    }
    place.add_result(record)
    keep_samples(place, record, keys, tallies)
    console.print(table(record))
    return record


def look_at_all(
    alone: Alone,
    asked: Explained,
    dataset: Dataset,
    captions: Sequence[str],
    rows: Sequence[int],
    makers: dict[str, Maker],
    how: Faithfulness,
    console: Console,
) -> tuple[list[str], dict[str, Tally]]:
    """Keys of the pictures, and what was found of them by method."""
    tallies, keys = tallies_for(makers), []
    pictures = samples_at(alone, dataset, rows, captions)
    for number, sample in enumerate(
        track(pictures, "removing pixels", len(rows), console=console, disable=not console.is_terminal)
    ):
        target = ask(asked.module, asked.tokenizer, sample.caption, "similarity", asked.others_KE).whole
        look(tallies, makers, asked.model, target, sample.image_CHW, sample.mask_HW, how, number)
        keys.append(sample.key)
    return keys, tallies


def keep_samples(place: Run, record: dict[str, Any], keys: Sequence[str], tallies: dict[str, Tally]) -> None:
    """A line a picture, with the figures of every method; not among the predictions, by which runs are compared: what
    one run's similarity loses says nothing of another's.
    """
    kinds = ("deletion", "insertion", "pointing", "mass")
    columns = {f"{name}_{kind}": getattr(tally, kind) for name, tally in tallies.items() for kind in kinds}
    lines = [
        json.dumps({"key": key, **{name: values[number] for name, values in columns.items() if values}})
        for number, key in enumerate(keys)
    ]
    place.explained.mkdir(exist_ok=True)
    file = place.explained / f"faithfulness_{record['dataset']}-{record['split']}.jsonl"
    write_atomic(file, "".join(f"{line}\n" for line in lines))


def table(record: dict[str, Any]) -> Table:
    """A row a method, the most faithful first, narrow enough for a terminal of 80 columns."""
    metrics = record["metrics"]
    title = f"{record['dataset']}:{record['split']}, {metrics[f'{RANDOM}_deletion']['n']} pictures"
    shown = Table(box=box.SIMPLE_HEAD, title=title, padding=(0, 1, 0, 0))
    for head in ("method", "delete", "below random", "below centre", "insert", "points", "ms"):
        shown.add_column(head, justify="left" if head == "method" else "right")
    names = sorted([*record["methods"], CENTRE, RANDOM], key=lambda name: metrics[f"{name}_deletion"]["value"])
    for name in names:
        shown.add_row(
            name,
            f"{metrics[f'{name}_deletion']['value']:.3f}",
            *(gain(metrics.get(f"{name}_deletion_above_{prior}")) for prior in (RANDOM, CENTRE)),
            f"{metrics[f'{name}_insertion']['value']:.3f}",
            share(metrics.get(f"{name}_pointing")),
            f"{record['milliseconds'][name]:,.0f}" if name in record["milliseconds"] else "",
        )
    return shown


def gain(found: dict[str, float] | None) -> str:
    return f"{found['value']:+.3f} [{found['low']:.2f} {found['high']:.2f}]" if found else ""


def share(found: dict[str, float] | None) -> str:
    return f"{100 * found['value']:.0f} %" if found else ""
