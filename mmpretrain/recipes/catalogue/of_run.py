"""Runs as rows, by what stands in their folders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.run import Run, list_checkpoints, step_of
from mmpretrain.recipes.catalogue.entry import Entry, each_once, first_line, size_of, tasks_of
from mmpretrain.recipes.catalogue.latency import kept_latency
from mmpretrain.recipes.catalogue.of_config import card_of, describe
from mmpretrain.recipes.catalogue.scores import score_of, score_of_step
from mmpretrain.recipes.chosen import read_best
from mmpretrain.recipes.settings import Pretrain, read_run

WEIGHTS = ("ema.safetensors", "weights.safetensors")
"""What stands for a checkpoint, the first that is there."""


def of_run(folder: Path) -> Entry:
    """A run, and what is wrong with it where its files cannot be read."""
    try:
        place, config = Run(folder), read_run(folder)
        facts, data = read_json(folder / "model.json"), read_json(folder / "data.json")
        entry = describe(
            str(folder), "run", config.towers, facts.get("parameters", {}), config.data.tokenizer.context_length
        )
        return replace(
            entry,
            state=state_of(place, config),
            tasks=tasks_of(each.kind for each in config.objectives),
            megabytes=megabytes_of(place),
            languages=data.get("languages") or languages_of(config),
            licences=each_once(source["licence"] for source in data.get("sources", [])),
            score=score_of(place, data) or score_of_step(folder),
            latency=kept_latency(folder),
        )
    except (MmpretrainError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return Entry(name=str(folder), kind="run", state=f"damaged: {first_line(error)}")


def read_json(path: Path) -> dict[str, Any]:
    """A file of the run; empty where there is none yet."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def languages_of(config: Pretrain) -> list[str]:
    """As the cards say that are there."""
    return each_once(
        language for part in config.data.parts for card in card_of(part.name) for language in card.languages
    )


def state_of(place: Run, config: Pretrain) -> str:
    """`step 425 of 850`, or nothing of a run that is complete."""
    found = list_checkpoints(place.checkpoints)
    if place.complete.exists():
        return "" if found else "no checkpoint left"
    return f"step {step_of(found[-1]):,} of {config.train.steps:,}" if found else "no checkpoint yet"


def megabytes_of(place: Run) -> float | None:
    """Of the weights that commands take."""
    best, found = read_best(place), list_checkpoints(place.checkpoints)
    if not found:
        return None
    chosen = place.checkpoints / f"step_{best['step']:08d}" if best else found[-1]
    files = [chosen / name for name in WEIGHTS if (chosen / name).is_file()]
    return size_of(files[:1])
