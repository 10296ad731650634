"""What a run folder holds, read once; a part that is not there yet is empty, never an error."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.report import wording

TABLE = "table.json"
"""In the folder of a compression."""
SHA256 = 64
"""Letters of a digest."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The files of a run folder as plain values; fractions are between 0 and 1."""

    name: str
    config: str = ""
    """The resolved YAML as it stands in the folder."""
    complete: bool = True
    environment: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each line of metrics.jsonl."""
    results: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each evaluation, several steps among them."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Starts, checkpoints and the like, with dates."""
    skips: list[dict[str, Any]] = field(default_factory=list)
    """Steps that were kept from the weights."""
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Samples that could not be used, one entry for each time."""
    memory: dict[str, Any] = field(default_factory=dict)
    """The most that each rank has held."""
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """What each task shows, one entry a split: queries with answers, confusion counts, captions and the like."""
    explained: dict[str, Any] = field(default_factory=dict)
    """Heat maps of some pictures."""
    compressions: list[dict[str, Any]] = field(default_factory=list)
    """What `mmpretrain compress` made of this run's weights in folders beside it, a table each."""

    def shown(self, task: str, part: str) -> list[dict[str, Any]]:
        """The splits of which a task shows some part."""
        return self.in_order(each for each in self.predictions.get(task, []) if each.get(part))

    def newest(self, task: str) -> list[dict[str, Any]]:
        """The last result of each evaluated split, and of each head; at one step, the later line wins."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for result in self.results:
            place = place_of(result)
            if result["task"] == task and (place not in found or result["step"] >= found[place]["step"]):
                found[place] = result
        return self.in_order(found.values())

    def in_order(self, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """By split: validation first, because the run was steered by it, then as the data lists them."""
        order = ["val", "validation", "dev", *self.data.get("splits", {})]
        return sorted(entries, key=lambda e: order.index(e["split"]) if e["split"] in order else len(order))

    @property
    def has_pictures(self) -> bool:
        """Whether the run looked at pictures; records of earlier versions say nothing, and did."""
        return bool(self.data.get("pictures", True))

    def purpose(self, dataset: str, split: str) -> str:
        """What the card says a split is for."""
        known = self.data.get("splits", {}) if dataset in ("", self.data.get("name")) else {}
        return wording.sentence(str(known.get(split, {}).get("purpose", "")))

    def label(self, dataset: str, split: str) -> str:
        """The split's name, with its dataset where that is not the one trained on."""
        return split if dataset in ("", self.data.get("name", dataset)) else f"{dataset}:{split}"

    def label_of(self, task: str, found: dict[str, Any]) -> str:
        """The same of a result or its predictions, with the head that was asked where that has a name of its own."""
        head = found.get("head", task)
        return self.label(found.get("dataset", ""), found["split"]) + ("" if head == task else f", head {head}")


def place_of(result: dict[str, Any]) -> tuple[str, ...]:
    """What a result is of: dataset, split, and the head where one was asked."""
    return (result["dataset"], result["split"], result.get("head", ""))


def read_folder(run: Run) -> Record:
    """The record of a run.

    Raises:
        MmpretrainError: a file is there and is no valid JSON.
    """
    return Record(
        name=run.folder.resolve().name,
        config=run.config.read_text(encoding="utf-8") if run.config.is_file() else "",
        complete=run.complete.exists(),
        environment=_read_json(run.environment),
        model=_read_json(run.folder / "model.json"),
        data=_read_json(run.folder / "data.json"),
        metrics=_read_lines(run.metrics),
        results=_read_lines(run.results),
        events=_read_lines(run.events),
        skips=_read_lines(run.skips),
        faults=_read_lines(run.ledger),
        memory=_read_json(run.memory),
        predictions={task: _read_predictions(run, task) for task in wording.TASKS},
        explained=_read_json(run.explained / "pictures.json"),
        compressions=_read_compressions(run),
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MmpretrainError(f"{path}: not valid JSON ({error}); delete or restore it, then report again") from error
    return content


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return read_json_lines(path)
    except ValueError as error:
        raise MmpretrainError(f"{path}: a line is no valid JSON ({error}); delete that line") from error


def _read_predictions(run: Run, task: str) -> list[dict[str, Any]]:
    """Predictions of every split."""
    return [_read_json(path) for path in sorted(run.predictions.glob(f"{task}_*.json"))]


def _read_compressions(run: Run) -> list[dict[str, Any]]:
    """Tables beside the run that were made of weights which it still has."""
    tables = sorted(run.folder.resolve().parent.glob(f"*/{TABLE}"))
    if not tables:
        return []
    weights = "".join(path.read_text(encoding="utf-8") for path in sorted(run.checkpoints.glob("*/manifest.json")))
    found = [{"folder": path.parent.name, **_read_json(path)} for path in tables]
    return [each for each in found if len(str(each.get("weights", ""))) == SHA256 and each["weights"] in weights]
