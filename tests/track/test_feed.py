"""Trackers that work, fail, hang and are missing: whatever they do, the run does not notice."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmpretrain.core.errors import ConfigError
from mmpretrain.track.base import Origin
from mmpretrain.track.build import TrackerSettings
from mmpretrain.track.feed import Feed, numbers_in, numbers_of_result, tracking
from mmpretrain.track.tensorboard import TensorBoard
from mmpretrain.track.wandb import Wandb

EVERY = get_args(get_args(TrackerSettings)[0])
TOY_WANDB = """
import json, pathlib
class Settings(dict): pass
class Run:
    def __init__(self, **given): self.given, self.lines = given, []
    def define_metric(self, name, step_metric): self.by = (name, step_metric)
    def log(self, numbers): self.lines.append(numbers)
    def finish(self):
        told = {name: self.given[name] for name in ("id", "resume", "mode")} | {"lines": self.lines, "by": self.by}
        file = pathlib.Path(self.given["dir"]) / "told.json"
        file.write_text(json.dumps(told))
def init(**given): return Run(**given)
"""


def origin(folder: Path, step: int = 0) -> Origin:
    return Origin(folder=folder, identity="abc", step=step, config={"train": {"steps": 9}})


class Listed:
    """A tracker that keeps what it is told, and does as it was told before each line."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.ended = False
        self._before = before

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        self._before()
        self.lines.append((step, dict(numbers)))

    def flush(self) -> None: ...

    def close(self) -> None:
        self.ended = True


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a hanging tracker waits for; opened at the end."""
    found = threading.Event()
    yield found
    found.set()


def soon() -> float:
    return time.monotonic() + 5


def test_lines_arrive_in_order_and_the_tracker_is_closed():
    tracker, told = Listed(), []
    feed = Feed("toy", lambda: tracker, told.append)
    for step in range(100):
        feed.add(step, {"loss": 1.0})
    feed.close(soon())
    assert [step for step, _ in tracker.lines] == list(range(100))
    assert tracker.ended
    assert told == []


@pytest.mark.parametrize("error", [OSError("the disk is full\nwith more"), SystemExit(3), KeyboardInterrupt()])
def test_a_tracker_that_fails_is_told_once_and_left_out(error: BaseException):
    def fail() -> None:
        raise error

    told: list[str] = []
    feed = Feed("toy", lambda: Listed(before=fail), told.append)
    for step in range(5):
        feed.add(step, {})
        time.sleep(0.01)
    feed.close(soon())
    (said,) = told
    assert said.startswith(f"track: toy failed and is left out: {type(error).__name__}: ")
    assert "\n" not in said


def test_one_that_cannot_be_opened_is_told_too():
    told: list[str] = []
    feed = Feed("toy", lambda: 1 / 0, told.append)  # type: ignore[arg-type,return-value]
    feed.close(soon())
    assert "ZeroDivisionError: division by zero" in told[0]


def test_one_that_hangs_takes_no_time_and_bounded_memory(gate: threading.Event):
    told: list[str] = []
    feed = Feed("toy", lambda: Listed(before=gate.wait), told.append, waiting=10)
    began = time.monotonic()
    for step in range(10_000):
        feed.add(step, {"loss": 1.0})
    assert time.monotonic() - began < 2
    (said,) = told
    assert "toy has not taken 10 lines" in said
    feed.close(time.monotonic() + 0.2)
    assert time.monotonic() - began < 3
    assert len(told) == 1, "once"


def test_the_end_of_a_run_waits_for_all_trackers_together_and_not_for_ever(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mmpretrain.track.feed.PATIENCE", 0.3)

    class Hanging:
        kind = "hanging"

        def build(self, origin: Origin) -> Listed:
            gate.wait()
            return Listed()

    told: list[str] = []
    began = time.monotonic()
    with tracking([Hanging(), Hanging()], origin(Path()), told.append) as add:  # type: ignore[list-item]
        add(1, {"step": 1, "loss": 2.0})
    assert time.monotonic() - began < 1
    assert [said[:37] for said in told] == ["track: hanging did not end in time; i"] * 2


def test_event_files_are_read_back_and_a_resumed_run_goes_on_from_its_checkpoint(tmp_path: Path):
    said: list[str] = []
    for start, steps, scale in ((0, (1, 2, 3, 4), 1.0), (2, (3, 4, 5), 10.0)):
        with tracking([TensorBoard()], origin(tmp_path, start), said.append) as add:
            for step in steps:
                add(step, {"step": step, "contrastive/loss": scale * step, "val/retrieval/i2t_R@10": 0.5, "said": "x"})
    assert said == []
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"contrastive/loss", "val/retrieval/i2t_R@10"}
    assert [(each.step, each.value) for each in found.Scalars("contrastive/loss")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 30.0),
        (4, 40.0),
        (5, 50.0),
    ]


def test_wandb_gets_each_line_with_its_step_and_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "wandb.py").write_text(TOY_WANDB)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    said: list[str] = []
    with tracking([Wandb()], origin(tmp_path), said.append) as add:
        add(7, {"step": 7, "loss": 2.0, "memory": 3})
    del sys.modules["wandb"]
    assert said == []
    told = json.loads((tmp_path / "told.json").read_text())
    assert told == {
        "id": "abc",
        "resume": "allow",
        "mode": "offline",
        "lines": [{"loss": 2.0, "memory": 3.0, "step": 7}],
        "by": ["*", "step"],
    }


@pytest.mark.parametrize("settings", EVERY)
def test_a_missing_package_is_one_line_with_the_command(settings: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^track: \w+ is not installed; pip install .+$"):
        settings().require()


def test_only_numbers_are_handed_over():
    assert numbers_in({"step": 3, "loss": 1, "best": True, "said": "x", "peaks": [1]}) == {"loss": 1.0}
    record = {"dataset": "b", "split": "val", "task": "retrieval", "metrics": {"i2t_R@1": {"value": 0.5}}}
    assert numbers_of_result(record, "b") == {"val/retrieval/i2t_R@1": 0.5}
    assert numbers_of_result({**record, "head": "kind"}, "a") == {"b:val/kind/i2t_R@1": 0.5}


@pytest.mark.long
def test_wandb_itself_takes_the_lines_offline_and_a_second_start_adds_to_the_same_run(tmp_path: Path):
    pytest.importorskip("wandb")
    said: list[str] = []
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with tracking([Wandb()], origin(tmp_path, start), said.append) as add:
            for step in steps:
                add(step, {"step": step, "loss": 1.0 / step})
    assert said == []
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert all(run.name.endswith("-abc") for run in runs), "wandb sync --append joins them"
    assert all(any(run.glob("*.wandb")) for run in runs)
