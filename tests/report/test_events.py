"""What befell a run, how fast it was and what of its data was bad, as the page shows them."""

import json

import pytest

from mmpretrain.core.run import Run
from mmpretrain.report.curves import build_curves
from mmpretrain.report.data_facts import LISTED, build_data_facts
from mmpretrain.report.events import MARKS, SHOWN, build_events
from mmpretrain.report.folder import read_folder
from mmpretrain.report.page import write_report
from mmpretrain.report.speed import RANKS, build_speed
from tests.report.conftest import HOSTILE


def tell(run: Run, **more: float) -> None:
    lines = [json.loads(line) | more for line in run.metrics.read_text().splitlines()]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_everything_that_happened_stands_at_its_step(toy_run: Run):
    toy_run.add_event("started", 0, "2 ranks, ddp, on a node")
    toy_run.add_event("saved", 2)
    toy_run.add_event("stopped", 2, "SIGTERM")
    toy_run.add_event("resumed", 2)
    toy_run.add_event("spike", 3, HOSTILE)
    toy_run.add_skip({"step": 4, "reason": "loss nan", "keys": ["k1"]})
    events = build_events(read_folder(toy_run))
    assert events is not None
    lanes = {lane.name: (lane.good, [(mark.at, mark.title) for mark in lane.marks]) for lane in events.lanes}
    assert lanes["Starts"] == (
        True,
        [(0.0, "step 0: started: 2 ranks, ddp, on a node"), (50.0, "step 2: resumed")],
    )
    assert lanes["Skipped steps"] == (False, [(100.0, "step 4: skipped: loss nan")])
    assert lanes["Evaluations"][1][0] == (50.0, "step 2: Retrieval of val; Retrieval of unseen")
    assert [what for _, _, what in events.table][2] == "stopped by a signal: SIGTERM"
    source = write_report(toy_run).read_text()
    assert "Events</h2>" in source
    assert "<script" not in source.lower()


def test_a_run_without_anything_to_tell_has_no_events(toy_run: Run):
    toy_run.results.unlink()
    assert build_events(read_folder(toy_run)) is None


def test_a_long_history_stays_small(toy_run: Run):
    for step in range(1000):
        toy_run.add_event("saved", step)
    events = build_events(read_folder(toy_run))
    assert events is not None
    (saved,) = [lane for lane in events.lanes if lane.name == "Checkpoints"]
    assert (saved.count, len(saved.marks), saved.marks[-1].at) == ("1,000", MARKS, 100.0)
    assert (len(events.table), events.older) == (SHOWN, "940")


def test_speed_is_told_by_step_by_waiting_and_by_memory_of_each_rank(toy_run: Run):
    tell(toy_run, step_p50=0.25, step_p95=1.5, memory=3_000_000_000)
    toy_run.memory.write_text(json.dumps({"device": "cpu", "peaks": [2_000_000_000, 3_000_000_000]}))
    speed = build_speed(read_folder(toy_run))
    assert speed is not None
    facts = {name: f"{value} {remark}".replace("\N{NO-BREAK SPACE}", " ") for name, value, remark in speed.facts}
    assert facts["A step"] == "250 ms median; 95 % within 1.5 s"
    assert facts["Peak memory"] == "3 GB rank 1 of 2; the least 2 GB"
    assert [(rank.name, rank.length) for rank in speed.ranks] == [("rank 0", pytest.approx(2 / 3)), ("rank 1", 1.0)]
    titles = [drawing.panel.title for drawing in speed.panels]
    assert titles == ["Throughput, samples/s", "Time of a step, ms", "Time spent waiting for data", "Peak memory, GB"]
    assert speed.panels[1].panel.series[0].values == [250.0] * 4
    assert "without loader processes" in speed.note


def test_of_many_ranks_those_with_the_most_memory_are_named(toy_run: Run):
    toy_run.memory.write_text(json.dumps({"device": "cuda", "peaks": list(range(1, 101))}))
    speed = build_speed(read_folder(toy_run))
    assert speed is not None
    assert [rank.name for rank in speed.ranks] == [f"rank {n}" for n in range(100 - RANKS, 100)]
    assert "The 16 of 100 ranks with the most." in speed.note


def test_bad_samples_are_named_once_with_their_reason(toy_run: Run):
    fault = {"step": 1, "dataset": "toys", "shard": "train-0.tar", "reason": "unknown_image", "detail": HOSTILE}
    for number in range(LISTED + 10):
        for step in (1, 2):
            toy_run.add_fault({**fault, "step": step, "key": f"k{number:03d}", "position": number, "attempt": 0})
    facts = build_data_facts(read_folder(toy_run))
    assert facts is not None
    assert facts.ledger is not None
    assert "60 could not be used, 120 times in all" in facts.ledger.said
    assert len(facts.ledger.rows) == LISTED
    assert facts.ledger.rows[0] == ("toys/train-0.tar", "k000", f"unknown_image: {HOSTILE}", "2")
    assert "<script" not in write_report(toy_run).read_text().lower()


def test_each_objective_of_a_mix_has_a_panel_of_its_own_and_training_stands_beside_what_is_held_out(toy_run: Run):
    tell(toy_run, **{"masked_language/loss": 2.0})
    figure = {"value": 2.5, "low": 2.4, "high": 2.6, "chance": 4.0, "n": 9}
    facts = {"dataset": "toys", "split": "val", "task": "held_out", "seed": 0}
    lines = [{**facts, "step": step, "metrics": {"masked_language_loss": figure}} for step in (2, 4)]
    toy_run.results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {drawing.panel.title: drawing for drawing in build_curves(read_folder(toy_run)) or []}
    assert list(found)[:3] == ["Loss", "Loss of contrastive", "Loss of masked language"]
    assert [line.name for line in found["Loss"].panel.series] == ["total", "contrastive", "masked language"]
    assert found["Loss of contrastive"].logarithmic
    assert not found["Loss of masked language"].logarithmic, "a straight line shows the same on any axis"
    held_out = found["Held out: masked language loss"].panel.series
    assert [line.name for line in held_out] == ["val", "training batches"]
