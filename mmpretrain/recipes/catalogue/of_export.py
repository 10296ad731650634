"""Exports as rows: folders for open_clip, onnxruntime and Hugging Face, known by the files in them."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import build
from mmpretrain.export.hub_model import HubConfig
from mmpretrain.export.onnx_files import PREPROCESS
from mmpretrain.export.open_clip_layout import CONFIG as OPEN_CLIP
from mmpretrain.objectives.combine import needs_of
from mmpretrain.recipes.catalogue.entry import Entry, first_line, size_of, tasks_of
from mmpretrain.recipes.catalogue.latency import kept_latency
from mmpretrain.recipes.catalogue.of_config import CLIP, counted, describe
from mmpretrain.recipes.catalogue.origin import with_origin
from mmpretrain.towers.model import FEATURES, Towers
from mmpretrain.towers.open_clip_config import settings_of
from mmpretrain.towers.open_clip_model import FOLDER

HUB = "config.json"
HUB_FIELDS = [each.name for each in fields(HubConfig)]
WRONG = (MmpretrainError, OSError, KeyError, TypeError, ValueError)


def kind_of(folder: Path) -> str:
    """What a folder was exported as; empty for another one."""
    marks = {"open_clip": OPEN_CLIP, "onnx": PREPROCESS, "huggingface": HUB}
    found = next((kind for kind, file in marks.items() if (folder / file).is_file()), "")
    return found if found and (found != "huggingface" or (folder / "model.safetensors").is_file()) else ""


def of_export(folder: Path, kind: str) -> Entry:
    """An export, and what is wrong with it where its files cannot be read."""
    ways = {"open_clip": of_open_clip, "onnx": of_onnx, "huggingface": of_hub}
    try:
        return with_origin(replace(ways[kind](folder), latency=kept_latency(folder)), folder)
    except WRONG as error:
        return Entry(name=str(folder), kind=kind, state=f"damaged: {first_line(error)}")


def of_open_clip(folder: Path) -> Entry:
    tree, length = settings_of(f"{FOLDER}{folder}", str(folder))
    towers = build(Towers, tree, str(folder))
    entry = describe(str(folder), "open_clip", towers, counted(towers, CLIP, length, FEATURES), length)
    return replace(entry, tasks=tasks_of(["contrastive"]), megabytes=size_of(sorted(folder.glob("*.safetensors"))))


def of_hub(folder: Path) -> Entry:
    facts = read(folder / HUB)
    towers, length, kinds = build(Towers, facts["towers"], str(folder)), facts["context_length"], objectives_of(facts)
    needs = needs_of(kinds)
    entry = describe(str(folder), "huggingface", towers, counted(towers, facts["vocabulary"], length, needs), length)
    tasks = tasks_of(each.kind for each in kinds)
    return replace(entry, tasks=tasks, megabytes=size_of(sorted(folder.glob("*.safetensors"))))


def objectives_of(facts: dict[str, Any]) -> Sequence[Any]:
    return build(HubConfig, {name: facts[name] for name in HUB_FIELDS if name in facts}, HUB).objectives


def of_onnx(folder: Path) -> Entry:
    facts = read(folder / PREPROCESS)
    graphs = {file.stem for file in folder.glob("*.onnx")}
    enabled = {"contrastive": {"image", "text"}, "matching": {"fusion"}, "captioning": {"decoder_first"}}
    return Entry(
        name=str(folder),
        kind="onnx",
        modality=" + ".join(name for name in ("image", "text") if name in graphs),
        tasks=tasks_of(kind for kind, needed in enabled.items() if needed <= graphs),
        megabytes=size_of(sorted(folder.glob("*.onnx*"))),
        pixels=facts["size"],
        tokens=facts["context_length"],
    )


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
