"""The launch scripts on the quickstart's real data and towers: two ranks each, resuming one another's checkpoints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import list_checkpoints, step_of
from mmpretrain.train import checkpoint

ROOT = Path(__file__).parents[2]
OPTIONS = ("data.batch=32", "data.workers=0", "train.log_every=1", "optim.schedule.warmup=5", "evaluation=[]")


def launch(script: str, folder: Path, steps: int, *more: str) -> str:
    """Run a launch script until `steps` of 20 are done and the run is stopped or complete."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    answer = subprocess.run(
        [
            str(ROOT / "launch" / script),
            "quickstart",
            f"run.folder={folder}",
            "train.steps=20",
            "engine.precision=fp32",
            *OPTIONS,
            *more,
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "RANKS": "2", "OMP_NUM_THREADS": "1", "STAGE": "3"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout


def rewind(folder: Path, step: int) -> None:
    """Make a run as if it had been killed right after the checkpoint of `step`."""
    (folder / "complete").unlink()
    for found in list_checkpoints(folder / "checkpoints"):
        if step_of(found) > step:
            found.rename(found.with_name(f"{found.name}.tmp"))


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_json_lines(folder / "metrics.jsonl")]


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(600)
def test_every_launcher_trains_the_quickstart_and_resumes_what_another_one_saved(tmp_path: Path):
    """single runs all 20 steps; then DDP takes its checkpoint of step 10, ZeRO-3 DDP's of 15, single ZeRO-3's."""
    folder = tmp_path / "run"
    save = ("train.save_every=5", "train.keep_last=4")
    launch("single.sh", folder, 20, *save)
    expected = losses(folder)
    assert len(expected) == 20

    for script, engine, step in (
        ("torchrun.sh", "ddp", 10),
        ("deepspeed.sh", "deepspeed", 15),
        ("single.sh", "single", 5),
    ):
        rewind(folder, step)
        output = launch(script, folder, 20, *save)
        assert f"resuming at step {step}" in output
        assert losses(folder) == pytest.approx(expected, rel=1e-5), engine
        state = checkpoint.load(folder / "checkpoints" / "step_00000020")
        assert all(torch.isfinite(tensor).all() for tensor in state.weights.values())
        assert set(state.optimizer_steps.values()) == {20}


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", ["torchrun.sh", "deepspeed.sh"])
def test_every_launcher_trains_the_quickstart_from_the_start(tmp_path: Path, script: str):
    folder = tmp_path / "run"
    launch(script, folder, 20)
    found = losses(folder)
    assert len(found) == 20
    assert found[-1] < found[0]
