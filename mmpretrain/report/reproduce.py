"""How to get the same numbers again: config, environment and commands."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from mmpretrain.core.settings import parse_yaml
from mmpretrain.report import wording
from mmpretrain.report.folder import Record

COMMAND = "python -m mmpretrain"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The resolved config and what the numbers depend on beside it."""

    config: str
    environment: list[tuple[str, str]]
    packages: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Commands in their order, as (what for, lines), and what to know about them."""

    commands: list[tuple[str, list[str]]]
    notes: list[str]


def build_settings(record: Record) -> Settings | None:
    """None where the folder has neither config nor environment."""
    if not record.config and not record.environment:
        return None
    packages = record.environment.get("packages", {})
    rows = [(name, _text(value)) for name, value in record.environment.items() if name != "packages"]
    return Settings(
        config=record.config, environment=rows, packages=[(name, _text(version)) for name, version in packages.items()]
    )


def build_recipe(record: Record) -> Recipe | None:
    """None where the folder does not say which command made it."""
    if not record.environment.get("command"):
        return None
    folder = shlex.quote(run_folder(record))
    commands = {
        "the same code": _checkout(record.environment.get("commit")),
        "train": [training_command(record.environment["command"])],
        "evaluate": [f"{COMMAND} evaluate {folder} {options}" for options in _evaluations(record)],
        "write this page": [f"{COMMAND} report {folder}"],
    }
    return Recipe(commands=[(what, lines) for what, lines in commands.items() if lines], notes=_notes(record))


def training_command(command: str) -> str:
    """The command as a person types it: `python -m` leaves only a file name behind."""
    program, space, rest = command.partition(" ")
    return f"{COMMAND}{space}{rest}" if program in ("__main__.py", "mmpretrain") else command


def run_folder(record: Record) -> str:
    """Where the training command puts the run; the folder read here may have been moved or renamed since."""
    config = parse_yaml(record.config)
    run = config.get("run") if isinstance(config, dict) else None
    return str(run["folder"]) if isinstance(run, dict) and run.get("folder") else record.name


def _checkout(commit: str | None) -> list[str]:
    install = 'pip install -e ".[eval]"'
    return [f"git checkout {shlex.quote(commit.rstrip('+'))}", install] if commit else [install]


def _evaluations(record: Record) -> list[str]:
    return [
        " ".join([f"--task {task} --data {shlex.quote(result['dataset'] + ':' + result['split'])}", *_chosen(result)])
        for task in wording.TASKS
        for result in record.newest(task)
    ]


def _chosen(result: dict[str, Any]) -> list[str]:
    """Settings of the evaluator that are not its defaults."""
    settings = result.get("settings", {})
    return [
        shlex.quote(f"{path}={value if isinstance(value, str) else json.dumps(value)}")
        for path, value in settings.items()
    ]


def _notes(record: Record) -> list[str]:
    notes = []
    if str(record.environment.get("commit", "")).endswith("+"):
        notes.append("The checkout had uncommitted changes, so its commit alone may not give the same numbers.")
    digests = sorted({str(result["config_digest"]) for result in record.results if result.get("config_digest")})
    if digests:
        notes.append(f"Config digest of the results: {', '.join(digests)}.")
    if record.data.get("digest"):
        notes.append(f"Data digest: {record.data['digest']}; with the seed it fixes the order of the samples.")
    return notes


def _text(value: Any) -> str:
    return "not known" if value is None else str(value)
