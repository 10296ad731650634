"""The figure that a model comes down to, with its interval."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.recipes.catalogue.entry import Score
from mmpretrain.report.folder import TABLE, Record
from mmpretrain.report.verdict import HEADLINES, headline_names, mean_figure

RETRIEVAL = HEADLINES["retrieval"]


def score_of(place: Run, data: dict[str, Any]) -> Score | None:
    """The one that a run's report opens with: of the newest evaluation, validation first."""
    record = Record(name="", data=data, results=read_json_lines(place.results))
    for task in (*HEADLINES, "held_out"):
        names = headline_names(record, task)
        for result in record.newest(task):
            if names and all(name in result["metrics"] for name in names):
                on = f"{result['dataset']}:{result['split']}"
                return scored(task, names, on, result["metrics"], result["step"])
    return None


def score_of_step(folder: Path) -> Score | None:
    """What `mmpretrain compress` found of a step."""
    row, split = row_of_step(folder)
    if not set(RETRIEVAL) <= row.get("scores", {}).keys():
        return None
    return scored("retrieval", RETRIEVAL, split, row["scores"])


def row_of_step(folder: Path) -> tuple[dict[str, Any], str]:
    """What `mmpretrain compress` keeps of a step beside its folder, and the split; empty for another folder."""
    file = folder.parent / TABLE
    empty: dict[str, Any] = {"rows": [], "split": ""}
    facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else empty
    return next((row for row in facts["rows"] if Path(row["folder"]).name == folder.name), {}), facts["split"]


def scored(task: str, names: Sequence[str], on: str, metrics: dict[str, Any], step: int | None = None) -> Score:
    found = mean_figure({"metrics": metrics}, tuple(names))
    ends = {key: found[key] for key in ("value", "low", "high", "chance")}
    return Score(task=task, on=on, metrics=list(names), step=step, **ends)
