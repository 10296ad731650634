from pathlib import Path

import pytest
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return Run(tmp_path / "run")


def save(run: Run, step: int) -> None:
    (run.checkpoints / f"step_{step:08d}").mkdir(parents=True)


def ask(run: Run, *options: str) -> tuple[int, str]:
    answer = CliRunner().invoke(cli, ["launch", "next", str(run.folder), *options])
    return answer.exit_code, answer.output.strip()


def begin(run: Run, restarts: int = 2) -> int:
    return ask(run, "--begin", "--restarts", str(restarts))[0]


def test_a_run_that_is_complete_is_neither_started_nor_queued_again(run: Run):
    assert begin(run) == 85
    run.complete.write_text("10\n")
    assert ask(run) == (0, f"{run.folder}: complete")
    assert begin(run) == 0
    assert len(read_json_lines(run.attempts)) == 1


def test_a_run_that_saved_something_new_is_queued_again_as_often_as_it_likes(run: Run):
    for step in range(1, 9):
        assert begin(run, restarts=0) == 85
        save(run, step)
        assert ask(run, "--restarts", "0") == (85, f"{run.folder}: requeue, goes on at step {step}")
    assert [attempt["step"] for attempt in read_json_lines(run.attempts)] == list(range(8))


@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_restarts_without_progress_are_counted_and_come_to_an_end(run: Run, restarts: int):
    assert begin(run, restarts) == 85
    save(run, 5)
    for _ in range(restarts + 1):
        assert ask(run, "--restarts", str(restarts))[0] == 85
        assert begin(run, restarts) == 85
    code, said = ask(run, "--restarts", str(restarts))
    assert code == 1
    assert f"stop: no progress in {restarts} restarts, still at step 5" in said
    assert begin(run, restarts) == 1, "not even where a node failed and nobody asked after it"


def test_a_half_written_checkpoint_is_no_progress(run: Run):
    assert begin(run, restarts=0) == 85
    (run.checkpoints / "step_00000005.tmp").mkdir(parents=True)
    assert ask(run, "--restarts", "0")[0] == 1


def test_a_job_that_is_submitted_anew_has_restarts_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch):
    assert begin(run, restarts=0) == 85
    assert begin(run, restarts=0) == 1
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert begin(run, restarts=0) == 85
    assert run.job.read_text() == "8\n"
    assert begin(run, restarts=0) == 1


def test_without_slurm_starts_are_counted_all_the_same(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    assert begin(run, restarts=0) == 85
    assert begin(run, restarts=0) == 1
    assert not run.job.exists()
