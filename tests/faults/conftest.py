"""Tiers: the default suite draws a few cases of every row, `make faults` (FAULTS=full) takes all of them."""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ConfigWriter
from tests.faults.harness import Account, Trial, write_rows

FULL = os.environ.get("FAULTS") == "full"
SEED = int(os.environ.get("FAULTS_SEED", "0"))
ROWS = pytest.StashKey[list[Account]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], Account]]:
    """Opens a row; a trial that failed fails the test at its end, with all of them named."""
    opened: list[Account] = []

    def open_row(name: str, goal: str) -> Account:
        opened.append(Account(name=name, goal=goal, seed=SEED))
        return opened[-1]

    yield open_row
    request.config.stash[ROWS].extend(opened)
    failures = [failure for row in opened for failure in row.failures]
    assert not failures, "\n".join(failures)


def pytest_sessionfinish(session: pytest.Session) -> None:
    rows = session.config.stash.get(ROWS, [])
    file = os.environ.get("RELIABILITY")
    if rows and file:
        names = ("torch", "deepspeed", "safetensors")
        versions = {name: importlib.metadata.version(name) for name in names} | {"python": platform.python_version()}
        write_rows(Path(file), [row.row("full" if FULL else "sample", versions) for row in rows])


@pytest.fixture
def trial(tmp_path: Path, toy_config: ConfigWriter) -> Callable[..., Trial]:
    """Makes a trial of the toy run, in a folder of its own; overrides as in a config."""

    def make(name: str, *overrides: str, **tree: object) -> Trial:
        more: dict[str, object] = {
            "train": {"steps": 8, "log_every": 1, "save_every": 2, "keep_last": 2},
            "towers__text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2, "dropout": 0.1},
            "optim": {"schedule": {"rate": 0.001, "warmup": 2}, "ema": 0.9},
            "evaluation": [{"kind": "retrieval", "split": "val"}],
        }
        config = tmp_path / "toy.yaml"
        if tree or not config.exists():
            config = toy_config("toy" if not tree else name, **{**more, **tree})
        return Trial(config=config, folder=tmp_path / "runs" / name, overrides=overrides)

    return make


def engine(ranks: int, kind: str = "ddp") -> list[str]:
    """Overrides for an engine; one rank runs single."""
    if ranks == 1 and kind == "ddp":
        return ["engine.kind=single"]
    stage = [f"engine.stage={kind.removeprefix('zero')}"] if kind.startswith("zero") else []
    name = "deepspeed" if stage else kind
    return [f"engine.kind={name}", *stage, "engine.timeout_seconds=60"]
