"""Does every way to cut a batch give one gradient, on this machine, for these objectives?"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Column, Table

from mmpretrain.conformance.cuts import TOLERANCE, Row, Tree, all_cuts, check
from mmpretrain.core.errors import ConfigError, QualityError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.objectives.text_distillation import TERMS
from mmpretrain.recipes.settings import find_config, read_pretrain

# neighbours of the toy batch are of different documents
WRONG_OR_RIGHT: Tree = {"kind": "next_sentence", "from_document": False}
EVERY: dict[str, list[Tree]] = {
    "contrastive": [{"kind": "contrastive"}],
    "sigmoid": [{"kind": "sigmoid"}],
    "masked_language": [{"kind": "masked_language"}],
    "next_sentence": [WRONG_OR_RIGHT],
    "pairs": [{"kind": "masked_language", "inside": "pair"}, WRONG_OR_RIGHT],
    "causal_language": [{"kind": "causal_language"}],
    "matching": [{"kind": "matching", "scale": 0}],
    "image_masked_language": [{"kind": "image_masked_language", "share": 0.5}],
    "captioning": [{"kind": "captioning", "smoothing": 0.1}],
    "mix": [
        {"kind": "contrastive"},
        {"kind": "matching", "weight": 0.5},
        {"kind": "image_masked_language", "weight": 0.5},
        {"kind": "captioning", "weight": 2.0},
    ],
    "distillation": [{"kind": "distillation", "teacher": "any"}],
    "text_distillation": [
        {"kind": "masked_language"},
        {
            "kind": "text_distillation",
            "teacher": "any",
            **dict.fromkeys(TERMS, 1.0),
            "layers": [[0, 0], [1, 2]],
            "relation_heads": 4,
        },
    ],
    "relations": [
        {
            "kind": "text_distillation",
            "teacher": "any",
            "cosine": 1.0,
            "relations": 1.0,
            "compared": ["query_key", "value_value"],
        }
    ],
    "views": [{"kind": "views"}, {"kind": "contrastive"}],
    "masked_image": [{"kind": "masked_image"}, {"kind": "masked_language"}],
    "classification": [
        {"kind": "classification", "hidden": 8, "smoothing": 0.1},
        {"kind": "classification", "name": "several", "reads": "text"},
    ],
    "question_answering": [
        {"kind": "question_answering"},
        {"kind": "question_answering", "name": "sigmoid", "reads": "text", "loss": "sigmoid"},
    ],
    "segmentation": [{"kind": "segmentation", "width": 16, "dice": 0.5}, {"kind": "classification", "weight": 0.5}],
}
"""Every objective by itself, and what goes together: BERT's pairs of passages, the mix of ALBEF and CoCa, SLIP with
hidden parts; and heads, which learn from labels."""


def conformance(
    config: Path | None,
    overrides: Sequence[str],
    ranks: Sequence[int],
    accumulations: Sequence[int],
    engines: Sequence[str],
    as_json: bool,
    console: Console,
) -> None:
    """Check the objectives of a config, or all of them.

    Raises:
        ConfigError: an engine or a cut that there is not.
        QualityError: some cut gives another gradient.
    """
    for engine in engines:
        if engine not in TOLERANCE or engine == "single":
            raise ConfigError(f"--engine: no engine {engine!r}{did_you_mean(engine, TOLERANCE)}")
    for count in (*ranks, *accumulations):
        if count not in (1, 2, 4):
            raise ConfigError(f"--ranks, --accumulation: {count} does not divide the toy batch; use 1, 2 and 4")
    mixes = EVERY
    if config is not None:
        file = find_config("pretrain", config)
        trees = read_pretrain(file, overrides).get("objectives", [])
        # sources are the config's, and the toy batch has one
        trees = [{name: value for name, value in tree.items() if name != "sources"} for tree in trees]
        mixes = {file.stem: trees}
    rows = check(mixes, list(all_cuts(mixes, ranks, accumulations, engines)))
    if as_json:
        console.print_json(json.dumps([asdict(row) for row in rows]))
    else:
        console.print(table(rows))
    failed = sum(not row.ok for row in rows)
    if failed:
        raise QualityError(f"conformance: {failed} of {len(rows)} cuts give another gradient than one process")
    if not as_json:
        console.print(f"all {len(rows)} cuts give the gradient of one process with the whole batch", soft_wrap=True)


def table(rows: Sequence[Row]) -> Table:
    heads = ("objective", "engine", "ranks", "micro", "tile", "dropout", "towers", "rel. diff", "")
    shown = Table(*(Column(head, no_wrap=True) for head in heads), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        shown.add_row(
            row.objective,
            row.engine,
            str(row.world_size),
            str(row.accumulation),
            "" if row.chunk is None else str(row.chunk),
            f"{row.dropout:g}",
            row.towers,
            f"{row.max_rel_diff:.1e}",
            "ok" if row.ok else "[bold red]differs[/]",
        )
    return shown
