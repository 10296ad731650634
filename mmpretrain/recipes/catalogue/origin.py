"""What an export says of the run that it was made of, so that its row stands where the run is not."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from mmpretrain.core.settings import build
from mmpretrain.export.report import REPORT
from mmpretrain.recipes.catalogue.entry import Entry, Score
from mmpretrain.recipes.catalogue.of_run import of_run
from mmpretrain.recipes.catalogue.scores import row_of_step, score_of_step

ABOUT = "about"
"""Where it stands in the report of an export."""
CARD = "README.md"


def about(run: Path, step: int, parts: Mapping[str, int]) -> dict[str, Any]:
    """What an export takes along: parameters by part, languages and licences of the data, the score of that step."""
    entry = of_run(run)
    score = entry.score if entry.score is not None and entry.score.step == step else None
    return {
        "parameters": dict(parts),
        "languages": entry.languages,
        "licences": entry.licences,
        "score": None if score is None else asdict(score),
    }


def with_origin(entry: Entry, folder: Path) -> Entry:
    """The row of an export with what its report, its card and the table of a compression say."""
    told = about_of(folder)
    parts, score = entry.parts or told.get("parameters", {}), told.get("score")
    return replace(
        entry,
        parts=parts,
        parameters=entry.parameters or sum(parts.values()) or row_of_step(folder)[0].get("parameters"),
        languages=told.get("languages", []),
        licences=told.get("licences", []),
        score=build(Score, score, f"{folder / REPORT}: score") if score else score_of_step(folder),
        weights_licence=licence_of(folder),
    )


def about_of(folder: Path) -> dict[str, Any]:
    """What an export took along; of its quantized graphs, what stands in the folder of the run, where that is there."""
    file = folder / REPORT
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if ABOUT in report or "run" not in report or not Path(report["run"]).is_dir():
        return dict(report.get(ABOUT, {}))
    return {**about(Path(report["run"]), report["step"], {}), "score": None}


def licence_of(folder: Path) -> str:
    """What the card beside the weights says, where there is one."""
    card = folder / CARD
    return str(ModelCard.load(card).data.to_dict().get("license", "")) if card.is_file() else ""
