"""Runs of one step, to be exported."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter

CLIP = {"kind": "clip", "context_length": 12}


def train(toy_config: ConfigWriter, name: str = "run", **overrides: Any) -> Path:
    """The folder of a run with CLIP's tokenizer."""
    short: dict[str, Any] = {"train__steps": 1, "optim__schedule__warmup": 0, "evaluation": []}
    config = toy_config(name, **{**short, "data__tokenizer": CLIP, **overrides})
    return pretrain(config, [], "never", Console(quiet=True)).folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


def export(*arguments: object) -> str:
    """What the command said."""
    answer = invoke(*arguments)
    if answer.exception is not None:
        raise answer.exception
    return answer.output


def refusal(kind: type[MmpretrainError], *arguments: object) -> str:
    """The one line of a refusal."""
    answer = invoke(*arguments)
    assert type(answer.exception) is kind, answer.output or answer.exception
    said = str(answer.exception)
    assert "\n" not in said
    return said
