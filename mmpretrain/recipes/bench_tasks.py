"""The table of fine-tuning: tasks, what they start from and how that is adapted, each from runs that can be opened."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from rich.console import Console

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.settings import difference, dump, load, settings
from mmpretrain.recipes.chosen import read_best
from mmpretrain.recipes.looks import say, write
from mmpretrain.recipes.readme_table import put_table
from mmpretrain.recipes.settings import Pretrain, find_config, load_pretrain, read_run, verb_of
from mmpretrain.report import wording

SHOWN_PACKAGES = ("torch", "timm")


@settings
class Way:
    """One row: where a task starts, and what of it learns."""

    start: str
    """As the table says it."""
    adaptation: str
    """As the table says it."""
    set: list[str] = field(default_factory=list)
    """Settings by their paths, behind the config."""
    config: str | None = None
    """Another config than the task's."""
    seeds: Annotated[list[int], Field(min_length=1)] | None = None
    """Other ones than those of the file."""


@settings
class Task:
    """A task in several rows."""

    task: str
    """As the table says it."""
    config: str
    """In configs/finetune or configs/pretrain."""
    split: str
    """Where the figure is taken: `val`."""
    metric: str
    """The figure, as results.jsonl names it."""
    ways: list[Way]
    beside: list[str] = field(default_factory=list)
    """Figures of the same evaluation that say what is easy."""


@settings
class Tasks:
    """What `mmpretrain bench tasks` runs."""

    tasks: list[Task]
    seeds: Annotated[list[int], Field(min_length=1)] = field(default_factory=lambda: [0, 1, 2])
    """Of order, weights and draws; a run each."""
    folder: str = "runs/tasks"
    """Of the runs. One that is complete is not run again."""


class Wanted(NamedTuple):
    """A row that is to be filled."""

    task: Task
    way: Way

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.task.task, self.way.start, self.way.adaptation

    @property
    def name(self) -> str:
        """For the run folders."""
        return re.sub(r"\W+", "_", " ".join(self.identity)).lower()

    @property
    def config(self) -> str:
        return self.way.config or self.task.config

    @property
    def file(self) -> Path:
        return find_config("finetune", Path(self.config))

    @property
    def command(self) -> list[str]:
        """What a row adds to it is the seed and the folder."""
        return ["mmpretrain", verb_of(self.file), self.config, *self.way.set]


def bench_tasks(file: Path, out: Path, readme: Path | None, only: str, console: Console) -> list[dict[str, Any]]:
    """Run what is not there yet, and write the figures and the table.

    Args:
        file: the tasks, as YAML.
        out: the figures, as JSON; rows that are not asked for stay as they are.
        readme: a text whose table of that name is made anew; None: none.
        only: rows whose task, start or adaptation hold this text; empty: all.

    Raises:
        ConfigError: no row is meant, or a run is there with other settings.
        MmpretrainError: a run failed; the rows before it are kept.
    """
    asked = load(Tasks, file)
    kept = json.loads(out.read_text()) if out.is_file() else []
    before = {(row["task"], row["start"], row["adaptation"]): row for row in kept}
    every = list(every_row(asked))
    meant = [wanted for wanted in every if only in " ".join(wanted.identity)]
    if not meant:
        raise ConfigError(f"--only: {only!r} stands in no task, start or adaptation of {file}")
    rows: list[dict[str, Any]] = []
    for wanted in meant:
        seeds = wanted.way.seeds or asked.seeds
        runs = [run_of_seed(asked, wanted, seed, console) for seed in seeds]
        before[wanted.identity] = row_of(wanted, seeds, runs)
        say(console, f"{', '.join(wanted.identity)}: {told(before[wanted.identity])}")
        rows = [before[each.identity] for each in every if each.identity in before]
        write(out, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    if readme is not None:
        put_table(readme, out.as_posix(), table(rows))
    return rows


def every_row(asked: Tasks) -> Iterator[Wanted]:
    for task in asked.tasks:
        for way in task.ways:
            yield Wanted(task, way)


def run_of_seed(asked: Tasks, wanted: Wanted, seed: int, console: Console) -> Run:
    """A complete run, trained now where there is none.

    Raises:
        ConfigError: the one that is there has other settings.
        MmpretrainError: the command failed; names it.
    """
    run = Run(Path(asked.folder) / f"{wanted.name}-{seed}")
    changes = [f"run.folder={run.folder}", f"train.seed={seed}", f"data.seed={seed}"]
    if run.complete.exists():
        refuse_other_settings(run, load_pretrain(wanted.file, [*wanted.way.set, *changes]))
        return run
    command = [*wanted.command, *changes]
    say(console, shlex.join(command))
    began = time.perf_counter()
    log = run.folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        done = subprocess.run([sys.executable, "-m", *command], stdout=file, stderr=file, check=False)
    if done.returncode:
        last = log.read_text().strip().splitlines()[-1:]
        raise MmpretrainError(f"{shlex.join(command)}: exit {done.returncode}: {''.join(last)}; see {log}")
    say(console, f"{run.folder}: {wording.duration(time.perf_counter() - began)}")
    return run


def refuse_other_settings(run: Run, config: Pretrain) -> None:
    """A row would show figures of settings that are not its own.

    Raises:
        ConfigError: names the first that differs.
    """
    changed = [each for each in difference(dump(read_run(run.folder)), dump(config)) if each[0] != "run.folder"]
    if changed:
        key, old, new = changed[0]
        raise ConfigError(f"{run.folder}: has {key}={old!r}, and the row {new!r}; move the folder away to train anew")


def row_of(wanted: Wanted, seeds: Sequence[int], runs: Sequence[Run]) -> dict[str, Any]:
    """A row of the file: figures by seed, and what they depend on."""
    records = [result_of(run, wanted.task) for run in runs]
    environments = [json.loads(run.environment.read_text()) for run in runs]
    names = [wanted.task.metric, *wanted.task.beside]
    return {
        "task": wanted.task.task,
        "start": wanted.way.start,
        "adaptation": wanted.way.adaptation,
        "command": shlex.join(wanted.command),
        "split": f"{records[0]['dataset']}:{records[0]['split']}",
        "metric": wanted.task.metric,
        "seeds": list(seeds),
        "steps": [record["step"] for record in records],
        "minutes": [round(minutes_of(run), 1) for run in runs],
        "figures": {name: [record["metrics"][name] for record in records] for name in names},
        "date": max(each["date"] for each in environments)[:10],
        "processor": environments[0]["processor"],
        "cores": environments[0]["cores"],
        "threads": environments[0]["threads"],
        "packages": {name: environments[0]["packages"][name] for name in SHOWN_PACKAGES},
    }


def result_of(run: Run, task: Task) -> dict[str, Any]:
    """What the checkpoint that stands for a run reached.

    Raises:
        ConfigError: the run was not evaluated that way.
    """
    best = read_best(run)
    found = [
        record
        for record in read_json_lines(run.results)
        if record["split"] == task.split
        and task.metric in record["metrics"]
        and (best is None or best["step"] == record["step"])
    ]
    if not found:
        raise ConfigError(f"{task.task}: {run.folder} has no {task.metric} of {task.split}; evaluate it in the config")
    return found[-1]


def minutes_of(run: Run) -> float:
    """Of training, without start and evaluation."""
    return float(sum(record["seconds"] for record in read_json_lines(run.metrics))) / 60


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, a row each, and below it where and when."""
    lines = ["| task | start | learned | figure | beside it |", "|---|---|---|---|---|"]
    last = ""
    for row in rows:
        task = "" if row["task"] == last else f"{row['task']}: {wording.metric_name(row['metric'])}, `{row['split']}`"
        last = row["task"]
        lines.append(f"| {task} | {row['start']} | {row['adaptation']} | {told(row)} | {beside(row)} |")
    dates = sorted({row["date"] for row in rows})
    packages = sorted({f"{name} {version}" for row in rows for name, version in row["packages"].items()})
    over = " and ".join(over_seeds(count) for count in sorted({len(row["seeds"]) for row in rows}, reverse=True))
    where = sorted({f"{row['processor'].partition(' (')[0]}, {row['cores']} cores" for row in rows})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    what = f"{over}; {', '.join(packages)}"
    return "\n".join([*lines, "", f"`mmpretrain bench tasks`, {when}, {' and '.join(where)}; {what}.", ""])


def over_seeds(count: int) -> str:
    return f"mean ± standard deviation over {count} seeds" if count > 1 else "95 % interval over samples of one seed"


def told(row: dict[str, Any], name: str | None = None) -> str:
    """A figure over seeds, or of one seed with its interval."""
    name = name or row["metric"]
    figures = row["figures"][name]
    values = [figure["value"] for figure in figures]
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{wording.figure_text(name, mean)} [{wording.interval_text(name, figures[0])}]"
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    if wording.is_share(name):
        return f"{100 * mean:.1f} ± {wording.percent(spread)}"
    return f"{mean:.2f} ± {spread:.2f}"


def beside(row: dict[str, Any]) -> str:
    """Chance, and what is easy."""
    figure = row["figures"][row["metric"]][0]
    chance = "" if wording.is_difference(row["metric"]) else wording.figure_text(row["metric"], figure["chance"])
    parts = [f"chance {chance}"] if chance else []
    names = [name for name in row["figures"] if name != row["metric"]]
    return "; ".join([*parts, *(f"{wording.metric_name(name)} {told(row, name)}" for name in names)])
