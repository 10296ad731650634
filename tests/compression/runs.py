"""Runs of a few steps, to be made smaller."""

from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)


def train(toy_config: ConfigWriter, name: str = "run", **overrides: Any) -> Path:
    """The folder of a run whose text tower has something to prune."""
    short: dict[str, Any] = {
        "train__steps": 4,
        "towers__text": {"kind": "causal", "width": 16, "layers": 2, "heads": 4},
        "evaluation": [],
    }
    return pretrain(toy_config(name, **{**short, **overrides}), [], "never", QUIET).folder
