"""The table of fine-tuning: rows from runs that are really there, once each."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.settings import load
from mmpretrain.recipes.bench_tasks import Tasks, every_row, table
from mmpretrain.recipes.settings import load_pretrain
from tests.conftest import ConfigWriter


@pytest.fixture
def tasks(toy_config: ConfigWriter, tmp_path: Path) -> Path:
    """Classes of shapes, two seeds, and pairs of shapes and texts, one."""
    evaluation = [{"kind": "classification", "split": "val"}]
    objectives = [{"kind": "classification"}]
    classes = toy_config("classes", objectives=objectives, evaluation=evaluation)
    pairs = toy_config("pairs", evaluation=[{"kind": "retrieval", "split": "val"}])
    tree = {
        "folder": str(tmp_path / "made"),
        "seeds": [0, 1],
        "tasks": [
            {
                "task": "shapes",
                "config": str(classes),
                "split": "val",
                "metric": "acc1",
                "beside": ["ece"],
                "ways": [{"start": "scratch", "adaptation": "in two steps", "set": ["train.steps=3"]}],
            },
            {
                "task": "pairs",
                "config": str(pairs),
                "split": "val",
                "metric": "t2i_median_rank",
                "ways": [{"start": "scratch", "adaptation": "all", "seeds": [5]}],
            },
        ],
    }
    file = tmp_path / "tasks.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def invoke(*arguments: object, fails: type[MmpretrainError] | None = None) -> str:
    answer = CliRunner().invoke(cli, ["bench", "tasks", *map(str, arguments)])
    if fails:
        assert isinstance(answer.exception, fails)
        return str(answer.exception)
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.timeout(300)
def test_a_table_is_made_of_runs_that_are_there_and_a_second_call_trains_nothing(tasks: Path, tmp_path: Path) -> None:
    out, readme = tmp_path / "tasks.json", tmp_path / "README.md"
    readme.write_text(f"before\n<!-- {out.as_posix()} -->\nold\n<!-- end -->\nbehind\n")
    said = invoke(tasks, "--out", out, "--readme", readme)
    assert said.count("run.folder=") == 3, "each run says the command that makes it again"
    rows = json.loads(out.read_text())
    assert [(row["task"], row["adaptation"], row["seeds"]) for row in rows] == [
        ("shapes", "in two steps", [0, 1]),
        ("pairs", "all", [5]),
    ]
    for row in rows:
        for place, seed in enumerate(row["seeds"]):
            name = f"{row['task']} {row['start']} {row['adaptation']}".replace(" ", "_")
            run = tmp_path / "made" / f"{name}-{seed}"
            results = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
            assert row["figures"][row["metric"]][place] == results[-1]["metrics"][row["metric"]]
    assert readme.read_text() == f"before\n<!-- {out.as_posix()} -->\n{table(rows)}<!-- end -->\nbehind\n"
    assert table(rows).count("±") == 3, "a figure, one beside it, and the line that explains"

    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "made").rglob("*") if file.is_file()}
    again = invoke(tasks, "--out", out, "--only", "two steps")
    assert "run.folder=" not in again
    assert json.loads(out.read_text()) == rows, "the rows that are not asked for stay"
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "made").rglob("*") if file.is_file()} == written


def test_a_run_that_fails_is_named_with_its_command_and_what_it_said(tasks: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(tasks.read_text())
    tree["tasks"][0]["ways"][0]["set"] = ["train.stepps=3"]
    tasks.write_text(yaml.safe_dump(tree))
    said = invoke(tasks, "--out", tmp_path / "tasks.json", fails=MmpretrainError)
    assert "train.stepps=3" in said
    assert "exit 2: error: train.stepps" in said
    assert not (tmp_path / "tasks.json").exists()


def test_rows_that_are_nowhere_and_texts_without_a_place_are_refused(tasks: Path, tmp_path: Path) -> None:
    assert "'nothing' stands in no task" in invoke(tasks, "--only", "nothing", fails=ConfigError)
    (tmp_path / "README.md").write_text("no marks\n")
    arguments = (tasks, "--only", "pairs", "--out", tmp_path / "tasks.json", "--readme", tmp_path / "README.md")
    assert "put them there" in invoke(*arguments, fails=ConfigError)
    assert json.loads((tmp_path / "tasks.json").read_text())[0]["seeds"] == [5], "the figures are kept"


def test_a_run_of_other_settings_is_not_shown_as_the_rows(tasks: Path, tmp_path: Path) -> None:
    arguments = (tasks, "--only", "pairs", "--out", tmp_path / "tasks.json")
    invoke(*arguments)
    tree = yaml.safe_load(tasks.read_text())
    tree["tasks"][1]["ways"][0]["set"] = ["optim.weight_decay=0.5"]
    tasks.write_text(yaml.safe_dump(tree))
    said = invoke(*arguments, fails=ConfigError)
    assert "optim.weight_decay=" in said
    assert "and the row 0.5; move the folder away" in said


def test_every_row_of_the_repository_is_a_config_that_loads() -> None:
    rows = list(every_row(load(Tasks, Path("benchmarks/tasks.yaml"))))
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        alone = [each for each in row.way.set if not each.startswith("init=")]  # a run that need not be there
        config = load_pretrain(row.file, alone)
        assert row.task.split in {each.split for each in config.evaluation}, row.name
