"""A run with trackers, its events and what its page says of them."""

from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)
EVALUATION = [{"kind": "retrieval", "split": "val"}]


def test_tensorboard_gets_what_metrics_and_results_hold_and_a_resumed_run_adds_to_it(toy_config: ConfigWriter):
    config = toy_config(track=[{"kind": "tensorboard"}], train__save_every=2, train__keep_last=9, evaluation=EVALUATION)
    run = pretrain(config, [], "auto", QUIET)
    run.complete.unlink()
    pretrain(config, [], "4", QUIET)
    found = EventAccumulator(str(run.folder / "tensorboard"))
    found.Reload()
    lines = read_json_lines(run.metrics)
    assert [line["step"] for line in lines] == [2, 4, 6]
    for name in ("loss", "contrastive/scale", "memory", "step_p95"):
        told = found.Scalars(name)
        assert [(each.step, each.value) for each in told] == [
            (line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines
        ]
    (result,) = {each.value for each in found.Scalars("val/retrieval/t2i_R@10")}
    assert result == pytest.approx(read_json_lines(run.results)[-1]["metrics"]["t2i_R@10"]["value"])
    kinds = [(each["kind"], each["step"]) for each in read_json_lines(run.events)]
    once = [("saved", 2), ("saved", 4), ("saved", 6), ("complete", 6)]
    assert kinds == [("started", 0), *once, ("resumed", 4), *once[2:]]


def test_a_tracker_that_fails_costs_its_numbers_alone(toy_config: ConfigWriter, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    config = toy_config(track=[{"kind": "tensorboard", "folder": str(tmp_path / "file" / "within")}], evaluation=[])
    console = Console(record=True, quiet=False, width=400, file=(tmp_path / "log").open("w"))
    run = pretrain(config, [], "auto", console)
    assert run.complete.exists()
    assert len(read_json_lines(run.metrics)) == 3
    assert console.export_text().count("track: tensorboard failed and is left out: NotADirectoryError") == 1
    assert [each["kind"] for each in read_json_lines(run.events)].count("tracker") == 1


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_before_anything_is_written(
    toy_config: ConfigWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = toy_config(track=[{"kind": kind}])
    for command in (lambda: pretrain(config, [], "auto", QUIET), lambda: dry_run(config, [], QUIET)):
        with pytest.raises(ConfigError, match=rf"track: {kind} is not installed; pip install "):
            command()
    assert not (tmp_path / "runs").exists()
