"""`mmpretrain launch` and `mmpretrain status` on toy runs; a real Slurm is in tests/slurm."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import load_pretrain
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)
DDP = {"kind": "ddp", "precision": "fp32"}


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=True)


def launch(kind: str, config: Path, *more: str) -> Path:
    """The launch folder of the run."""
    answer = invoke("launch", kind, str(config), "--no-dry-run", *more)
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return Path(load_pretrain(config).run.folder) / "launch"


def refusal(kind: str, config: Path, *more: str) -> str:
    error = invoke("launch", kind, str(config), "--no-dry-run", *more).exception
    assert isinstance(error, ConfigError), error
    return str(error)


def test_a_launch_writes_the_script_and_a_copy_of_what_it_will_train(toy_config: ConfigWriter):
    config = toy_config(engine=DDP, data__workers=2)
    folder = launch("slurm", config, "--nodes", "2", "--gpus-per-node", "3", "train.steps=9")
    text = (folder / "slurm.sbatch").read_text()
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=3\n#SBATCH --cpus-per-task=3\n" in text
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["steps"] == 9
    config.unlink()
    assert load_pretrain(folder / "config.yaml").train.steps == 9


def test_scripts_go_where_they_are_asked_to(toy_config: ConfigWriter, tmp_path: Path):
    config = toy_config(engine=DDP)
    answer = invoke(
        "launch", "torchrun", str(config), "--no-dry-run", "--gpus-per-node", "2", "--out", str(tmp_path / "x")
    )
    assert f"next: {tmp_path}/x/torchrun.sh" in answer.output
    assert (tmp_path / "x" / "torchrun.sh").is_file()


def test_the_dry_run_comes_first_and_what_fails_there_is_not_written(
    toy_config: ConfigWriter, capfd: pytest.CaptureFixture[str]
):
    config = toy_config(engine=DDP)
    arguments = ("launch", "slurm", str(config), "--nodes", "2", "--gpus-per-node", "0", "data.name=not_there")
    answer = invoke(*arguments)
    assert isinstance(answer.exception, MmpretrainError)
    assert "the dry run failed, nothing was written" in str(answer.exception)
    assert answer.exception.exit_code == 2
    assert "not_there" in capfd.readouterr().err
    assert not (Path(load_pretrain(config).run.folder)).exists()

    assert invoke(*arguments[:-1]).exit_code == 0
    assert "the rows of 1 of 2 ranks" in capfd.readouterr().out


def test_what_cannot_train_on_these_machines_is_refused_before_anything_is_written(toy_config: ConfigWriter):
    single, ddp = toy_config("single"), toy_config("ddp", engine=DDP)
    two = ("--nodes", "2", "--gpus-per-node", "0")
    assert "engine.kind: single runs one process, not 2 ranks; use engine.kind=ddp" in refusal("slurm", single, *two)
    assert "12 does not divide by 8 ranks" in refusal("torchrun", ddp, "--gpus-per-node", "8")
    assert "ddp under DeepSpeed's launcher; add engine.kind=deepspeed" in refusal("deepspeed", ddp, *two)
    assert "3 is over when USR1 comes 180 s before" in refusal("slurm", ddp, *two, "--time", "3")
    assert "--hosts: a, b, c are not 2 nodes" in refusal("torchrun", ddp, *two, "--hosts", "a,b,c")
    assert "unknown key" in refusal("slurm", ddp, *two, "train.stepz=3")
    assert not Path(load_pretrain(ddp).run.folder).exists()


def test_a_run_is_launched_again_with_its_own_config_only_and_never_when_it_is_complete(toy_config: ConfigWriter):
    config = toy_config()
    place = pretrain(config, [], "auto", QUIET)
    one = ("--gpus-per-node", "0")
    assert "this run is complete; a new one needs another run.folder" in refusal("slurm", config, *one)
    place.complete.unlink()
    assert "optim.weight_decay: the run in" in refusal("slurm", config, *one, "optim.weight_decay=0.7")
    launch("slurm", config, *one)
    assert "step 6" in invoke("launch", "next", str(place.folder)).output


def test_without_slurm_a_script_cannot_be_submitted_and_says_so(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "")
    answer = invoke("launch", "slurm", str(toy_config()), "--no-dry-run", "--gpus-per-node", "0", "--submit")
    assert isinstance(answer.exception, MmpretrainError)
    assert "sbatch is not on the PATH" in str(answer.exception)


def test_status_tells_where_a_run_stands_to_people_and_to_programs(toy_config: ConfigWriter):
    place = pretrain(toy_config(train__save_every=2), [], "auto", QUIET)
    place.complete.unlink()
    shutil.rmtree(place.checkpoints / "step_00000006")
    answer = invoke("status", str(place.folder))
    assert answer.exit_code == 0, answer.exception
    for words in ("6 of 6", "samples/s", "waiting for data", "step 4", "restarts", "retrieval shapes:val"):
        assert words in answer.output
    assert any(block in answer.output for block in "▁▂▃▄▅▆▇█")
    facts = json.loads(invoke("status", str(place.folder), "--json").output)
    assert (facts["step"], facts["steps"], facts["checkpoint"], facts["complete"]) == (6, 6, 4, False)
    assert len(facts["loss"]) == 3
    assert facts["queue"] is None


def test_status_of_a_job_that_slurm_has_forgotten_still_tells_what_the_folder_holds(
    toy_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "")
    folder = launch("slurm", toy_config(), "--gpus-per-node", "0").parent
    (folder / "job").write_text("12\n")
    answer = invoke("status", str(folder))
    assert "job 12: Slurm does not know it" in answer.output
    assert "0 of 6" in answer.output


def test_a_folder_without_a_run_has_no_status(tmp_path: Path):
    assert "neither a run nor one that was launched" in str(invoke("status", str(tmp_path)).exception)
