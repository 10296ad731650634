import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from mmpretrain.core.errors import ConfigError, DataError, MmpretrainError, QualityError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.datasets.index import index
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.page import write_report
from mmpretrain.train.metrics import OF_THE_MACHINE
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar

QUIET = Console(quiet=True)


def weights(folder: Path, step: int = 6) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "checkpoints" / f"step_{step:08d}" / "weights.safetensors")


def assert_equal_weights(left: Path, right: Path) -> None:
    one, other = weights(left), weights(right)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_leaves_everything_that_a_reader_looks_for(toy_config: ConfigWriter):
    place = pretrain(toy_config(), [], "auto", QUIET)
    assert [record["step"] for record in read_json_lines(place.metrics)] == [2, 4, 6]
    results = read_json_lines(place.results)
    assert [(record["task"], record["split"], record["step"]) for record in results] == [
        ("retrieval", "val", 6),
        ("zero_shot", "val", 6),
    ]
    figure = results[0]["metrics"]["i2t_R@5"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert 0 < figure["chance"] < 1
    assert {"config.yaml", "env.json", "data.json", "model.json", "complete"} <= {
        f.name for f in place.folder.iterdir()
    }
    assert "Coloured shapes" in write_report(place).read_text()


def test_the_same_config_gives_the_same_weights(toy_config: ConfigWriter):
    one, two = (pretrain(toy_config(name), [], "auto", QUIET).folder for name in ("one", "two"))
    assert_equal_weights(one, two)


def test_cutting_a_step_into_micro_batches_changes_only_rounding(toy_config: ConfigWriter):
    whole = pretrain(toy_config("whole"), [], "auto", QUIET)
    cut = pretrain(toy_config("cut", train__micro_batches=3), [], "auto", QUIET)
    for left, right in zip(read_json_lines(whole.metrics), read_json_lines(cut.metrics), strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-5)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-4)


def start(config: Path, *overrides: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "mmpretrain", "pretrain", str(config), *overrides]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.processes
def test_a_killed_run_ends_bit_for_bit_as_one_that_was_never_killed(toy_config: ConfigWriter, tmp_path: Path):
    options = {
        "train__steps": 300,
        "train__save_every": 20,
        "train__log_every": 20,
        "optim__ema": 0.9,
        "towers__image__drop_path": 0.2,
        "evaluation": [],
    }
    whole = pretrain(toy_config("whole", **options), [], "auto", QUIET)
    config = toy_config("killed", **options)
    process = start(config)
    folder = tmp_path / "runs" / "killed"
    wait_for(folder / "checkpoints" / "step_00000040" / "manifest.json", process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert not (folder / "complete").exists()

    resumed = pretrain(config, [], "auto", QUIET)
    one, other = weights(whole.folder, 300), weights(folder, 300)
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [
        [{k: v for k, v in r.items() if k not in OF_THE_MACHINE} for r in read_json_lines(p.metrics)]
        for p in (whole, resumed)
    ]
    assert lines[0] == lines[1]


@pytest.mark.processes
def test_ctrl_c_saves_and_exits_130_and_the_same_command_resumes(toy_config: ConfigWriter, tmp_path: Path):
    config = toy_config("stopped", train__steps=2000, train__save_every=50, evaluation=[])
    folder = tmp_path / "runs" / "stopped"
    process = start(config)
    wait_for(folder / "checkpoints" / "step_00000050", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == f"error: {folder}: saved and stopped; the same command resumes"
    newest = max(int(path.name[5:]) for path in (folder / "checkpoints").glob("step_*"))
    assert 50 < newest < 2000

    again = start(config, "train.keep_last=3")
    wait_for(folder / "checkpoints" / f"step_{(newest // 50 + 1) * 50:08d}", again)
    again.send_signal(signal.SIGTERM)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 143
    assert f"resuming at step {newest}" in output


def test_a_complete_run_is_never_overwritten(toy_config: ConfigWriter):
    config = toy_config()
    pretrain(config, [], "auto", QUIET)
    for resume in ("auto", "never"):
        with pytest.raises(ConfigError, match=r"this run is complete; a new one needs another run\.folder"):
            pretrain(config, [], resume, QUIET)


def test_a_run_is_not_continued_with_another_config(toy_config: ConfigWriter, tmp_path: Path):
    config = toy_config()
    folder = pretrain(config, [], "auto", QUIET).folder
    (folder / "complete").unlink()
    with pytest.raises(ConfigError) as caught:
        pretrain(config, ["optim.weight_decay=0.5", "train.seed=3", "engine.precision=bf16"], "auto", QUIET)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[:2]] == ["optim.weight_decay", "train.seed"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(toy_config: ConfigWriter):
    config = toy_config("damaged", train__save_every=2)
    whole = pretrain(toy_config("whole"), [], "auto", QUIET).folder
    folder = pretrain(config, [], "auto", QUIET).folder
    (folder / "complete").unlink()
    (folder / "checkpoints" / "step_00000006" / "weights.safetensors").write_bytes(b"")
    pretrain(config, [], "auto", QUIET)
    assert_equal_weights(whole, folder)


def test_steps_that_keep_failing_end_the_run_and_name_samples(toy_config: ConfigWriter):
    config = toy_config(
        "hot", optim__schedule={"rate": 1e30}, optim__clip_norm=None, train__steps=40, train__max_skips=3
    )
    with pytest.raises(MmpretrainError, match=r"3 steps in a row were skipped; lower optim\.schedule\.rate.*ada-"):
        pretrain(config, [], "auto", QUIET)


def test_a_run_can_be_evaluated_later_on_any_split_and_gated(toy_config: ConfigWriter):
    place = pretrain(toy_config(), [], "auto", QUIET)
    at_the_end = read_json_lines(place.results)[0]["metrics"]
    assert evaluate(place.folder, "retrieval", ":val", [], None)["metrics"] == at_the_end
    assert evaluate(place.folder, "zero_shot", ":train", ["acc1=0"], None)["split"] == "train"
    assert len(read_json_lines(place.results)) == 4
    with pytest.raises(QualityError, match=r"i2t_R@1 is .*, asked for at least 1"):
        evaluate(place.folder, "retrieval", ":val", ["i2t_median_rank=100", "i2t_R@1=1"], None)
    with pytest.raises(QualityError, match=r"i2t_median_rank is .*, asked for at most 0\.5"):
        evaluate(place.folder, "retrieval", ":val", ["i2t_median_rank=0.5"], None)
    with pytest.raises(ConfigError, match=r"unknown metric 'i2t_R1'; did you mean 'i2t_R@1'"):
        evaluate(place.folder, "retrieval", ":val", ["i2t_R1=1"], None)


def test_the_machine_twin_of_results_is_json(toy_config: ConfigWriter):
    place = pretrain(toy_config(), [], "auto", QUIET)
    command = [sys.executable, "-m", "mmpretrain", "evaluate", str(place.folder), "--data", ":val", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["task"] == "retrieval"


def mixture_config(toy_config: ConfigWriter, shapes: Path, folder: Path, **more: object) -> Path:
    """Two sources of unequal weight, the second one from step 2 on."""
    folder.mkdir(exist_ok=True)
    write_tar(folder / "other.tar", toy_samples(20, artist="bob"))
    write_card(folder, {"train": (["other.tar"], 20)})
    sources = [{"name": str(shapes), "weight": 2}, {"name": str(folder), "weight": [[0, 0], [2, 1]]}]
    path = toy_config("mixture", data__sources=sources, **more)
    tree = yaml.safe_load(path.read_text())
    del tree["data"]["name"]
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_mixture_is_trained_on_by_its_weights_and_resumes_like_any_run(
    toy_config: ConfigWriter, shapes: Path, tmp_path: Path
):
    evaluation = [{"kind": "retrieval", "split": "val"}, {"kind": "retrieval", "split": f"{tmp_path / 'other'}:train"}]
    config = mixture_config(toy_config, shapes, tmp_path / "other", train__save_every=3, evaluation=evaluation)
    whole = pretrain(config, ["train.keep_last=9"], "auto", QUIET)
    assert [(r["dataset"], r["split"]) for r in read_json_lines(whole.results)] == [
        (shapes.name, "val"),
        ("other", "train"),
    ]
    expected = weights(whole.folder)
    (whole.folder / "complete").unlink()
    shutil.rmtree(whole.folder / "checkpoints" / "step_00000006")
    resumed = weights(pretrain(config, ["train.keep_last=9"], "auto", QUIET).folder)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert "other" in write_report(whole).read_text()


def test_an_objective_names_only_sources_that_there_are(toy_config: ConfigWriter, shapes: Path, tmp_path: Path):
    objectives = [{"kind": "contrastive", "sources": ["shapez"]}]
    config = mixture_config(toy_config, shapes, tmp_path / "other", objectives=objectives)
    with pytest.raises(ConfigError, match=r"objectives\.0\.sources: 'shapez' is no source"):
        pretrain(config, [], "auto", QUIET)


def test_a_config_needs_a_dataset_or_sources(toy_config: ConfigWriter, shapes: Path):
    with pytest.raises(ConfigError, match="data: needs either a name or sources"):
        pretrain(toy_config(data__sources=[{"name": str(shapes)}]), [], "auto", QUIET)
    with pytest.raises(ConfigError, match="from step 3 on every weight is 0"):
        pretrain(
            mixture_config(toy_config, shapes, shapes.parent / "other"),
            ["data.sources.0.weight=[[0,1],[3,0]]", "data.sources.1.weight=0"],
            "auto",
            QUIET,
        )


def test_a_run_does_not_go_on_with_other_shards(toy_config: ConfigWriter, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    write_tar(data / "a.tar", toy_samples(24))
    write_card(data, {"train": (["a.tar"], 24)})
    config = toy_config(data__name=str(data), evaluation=[], train__save_every=3)
    place = pretrain(config, [], "auto", QUIET)
    (place.folder / "complete").unlink()
    shutil.rmtree(place.checkpoints / "step_00000006")
    write_tar(data / "a.tar", toy_samples(24, artist="eve"))
    index(str(data), QUIET)
    with pytest.raises(DataError, match="not the shards that"):
        pretrain(config, [], "auto", QUIET)


def test_a_chosen_step_drops_the_metrics_behind_it_and_has_to_exist(toy_config: ConfigWriter):
    config = toy_config(evaluation=[], train__save_every=2, train__keep_last=9)
    place = pretrain(config, [], "auto", QUIET)
    (place.folder / "complete").unlink()
    with pytest.raises(ConfigError, match="no checkpoint of step 3; there are 2, 4, 6"):
        pretrain(config, [], "3", QUIET)
    pretrain(config, [], "2", QUIET)
    assert [record["step"] for record in read_json_lines(place.metrics)] == [2, 4, 6]
