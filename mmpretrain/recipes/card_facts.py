"""What a run folder knows for a model card."""

import json
from pathlib import Path
from typing import Any

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.settings import parse_yaml
from mmpretrain.export.model_card import Facts
from mmpretrain.export.trained import Trained
from mmpretrain.report import wording
from mmpretrain.report.folder import Record, read_folder
from mmpretrain.report.reproduce import build_recipe
from mmpretrain.report.results import LAX, build_row

SHORT = 12
"""Digits of a digest."""


def card_facts(trained: Trained, name: str) -> Facts:
    """What stands in the files of the run, of the step that is exported.

    Args:
        name: of the model.
    """
    place = Run(Path(trained.run))
    record = read_folder(place)
    rows, figures, remarks = figures_of(record, trained.step)
    recipe = build_recipe(record)
    packages = record.environment.get("packages", {})
    return Facts(
        name=name,
        run=record.name,
        step=trained.step,
        what=what_it_is(trained),
        has_features=trained.has_features,
        has_captions=trained.captioning is not None,
        size=trained.towers.size,
        context=trained.tokenizer.context_length,
        left_out=trained.left_out((trained.pairs, trained.captioning)),
        data=data_of(record),
        tables=rows,
        figures=figures,
        remarks=remarks,
        limits=limits_of(trained, record),
        cost=cost_of(place, record, trained.step),
        commands=[line for _, lines in recipe.commands for line in lines] if recipe else [],
        packages=[f"{package} {version}" for package, version in packages.items() if version],
    )


def what_it_is(trained: Trained) -> str:
    """In a sentence or two."""
    image, text = trained.towers.image, trained.towers.text
    assert image is not None
    said = f"An image tower ({image.kind}'s `{image.name}`, {trained.towers.size} px) and a {text.kind} text "
    said += f"transformer of {text.layers} layers and width {text.width}, "
    count = wording.short_count(sum(parameter.numel() for parameter in trained.model.parameters()))
    does = ["put pictures and texts into one space"] if trained.has_features else []
    does += ["describe pictures in words"] if trained.captioning is not None else []
    return f"{said}{count} parameters in all, that {' and '.join(does)}."


def data_of(record: Record) -> dict[str, Any]:
    """What data.json says of what the run learned from: the first dataset, and the sources of all."""
    data, config = record.data, parse_yaml(record.config) or {}
    others = [str(each["name"]) for each in (config.get("data") or {}).get("sources") or []][1:]
    return {
        "name": data.get("name", ""),
        "title": data.get("title", ""),
        "description": " ".join(str(data.get("description", "")).split()),
        "samples": wording.count(samples_of(data)),
        "digest": str(data.get("digest", ""))[:SHORT],
        "sources": data.get("sources", []),
        "others": others,
        "start": config.get("init"),
    }


def samples_of(data: dict[str, Any]) -> int:
    """That were learned from."""
    split = data.get("splits", {}).get(data.get("train_split", ""), {})
    return int(data.get("trained_on") or split.get("samples", 0))


def figures_of(record: Record, step: int) -> tuple[list[list[str]], list[dict[str, Any]], list[str]]:
    """Rows for people, the same for programs, and what a reader has to know of them."""
    rows, figures, remarks = [], [], []
    for task, title in wording.TASKS.items():
        for found in (each for each in record.newest(task) if each["step"] == step):
            where = f"{title}, `{found['dataset']}:{found['split']}`"
            where += "".join(f", {key}={value}" for key, value in found.get("settings", {}).items())
            remarks += [f"{where}: {remark}" for remark in found.get("remarks", [])]
            for metric, figure in found["metrics"].items():
                direction, bare = wording.split_direction(metric)
                if bare.startswith(LAX):
                    continue
                row = build_row(bare, figure, 1.0)
                way = f", {wording.DIRECTIONS[direction]}" if direction in wording.DIRECTIONS else ""
                rows.append([where, f"{row.name}{way}", row.value, row.interval, row.chance, row.queries])
                keys = {"task": task, "dataset": found["dataset"], "split": found["split"], "metric": metric}
                figures.append({**keys, "value": figure["value"]})
    return rows, figures, remarks


def limits_of(trained: Trained, record: Record) -> list[str]:
    """What follows from size and data; nothing that was not looked at."""
    found = [
        f"It learned from {wording.count(samples_of(record.data))} samples of `{record.data.get('name')}`; the figures "
        "say nothing of pictures and words unlike those.",
        f"Pictures are seen at {trained.towers.size} px: what is smaller than a pixel there is not seen.",
        "Whatever is one-sided in the data is one-sided in the model; it was not examined for that.",
    ]
    if getattr(trained.captioning, "seen_S", None) is not None:
        found.append("Captions are made of words of the training texts alone, and may say what is not in the picture.")
    elif trained.captioning is not None:
        found.append("Captions may say what is not in the picture.")
    return found


def cost_of(place: Run, record: Record, step: int) -> str:
    """Hours of processors in training, as metrics.jsonl and the checkpoint have them."""
    hours = sum(each.get("seconds", 0.0) for each in read_json_lines(place.metrics) if each["step"] <= step) / 3600
    state = json.loads((place.checkpoints / f"step_{step:08d}" / "state.json").read_text(encoding="utf-8"))
    ranks, cores = int(state.get("ranks", 1)), record.environment.get("cores")
    config = parse_yaml(record.config) or {}
    engine = config.get("engine", {}).get("kind", "single")
    said = (
        f"{hours:.2f} hours of training by {ranks} process{'es' if ranks > 1 else ''} (`engine.kind: {engine}`), "
        f"evaluation left out, on {record.environment.get('processor', 'a processor that is not known')}"
    )
    return f"{said}, {cores} cores: at most {hours * cores:.2f} core hours." if cores and ranks == 1 else f"{said}."
