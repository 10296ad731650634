"""A run that learned a little of everything, and what asks it."""

import asyncio
import base64
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.search import build_index, open_indexes
from mmpretrain.recipes.served.folder import open_folder
from mmpretrain.serving.app import Site
from mmpretrain.serving.served import Served
from mmpretrain.serving.settings import Serving
from tests.conftest import toy_picture
from tests.tasks import quiz

QUIET = Console(quiet=True)
OBJECTIVES = ("contrastive", "captioning", "classification", "question_answering", "answer_writing")
FUSION = {"start": "text", "layers": 1}


def config_of(folder: Path, data: Path, objectives: list[dict[str, Any]], **towers: Any) -> Path:
    tree = {
        "run": {"folder": str(folder)},
        "data": {
            "name": str(data),
            "batch": 12,
            "workers": 0,
            "tokenizer": {"kind": "wordpiece", "context_length": 12, "vocabulary": 100},
        },
        "towers": {
            "image": {"kind": "timm", "name": "test_vit", "size": 32},
            "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
            "embedding": 16,
            **towers,
        },
        "objectives": objectives,
        "optim": {"schedule": {"rate": 0.003, "warmup": 2}, "ema": 0.5},
        "engine": {"kind": "single", "precision": "fp32"},
        "train": {"steps": 12, "log_every": 6},
    }
    path = folder.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="session")
def quiz_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quiz(tmp_path_factory.mktemp("served") / "quiz")


@pytest.fixture(scope="session")
def able(quiz_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that answers every question, with an index of its held-out pictures."""
    folder = tmp_path_factory.mktemp("runs") / "able"
    objectives = [{"kind": kind} for kind in OBJECTIVES]
    config = config_of(folder, quiz_data, objectives, fusion=FUSION, decoder=dict(FUSION))
    pretrain(config, [], "never", QUIET)
    build_index(folder, "held", f"{quiz_data}:val", QUIET)
    return folder


@pytest.fixture(scope="session")
def plain(quiz_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned vectors alone."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    pretrain(config_of(folder, quiz_data, [{"kind": "contrastive"}]), [], "never", QUIET)
    return folder


@pytest.fixture(scope="session")
def models(able: Path, plain: Path) -> list[Served]:
    return [open_folder(each, indexes=open_indexes(each)) for each in (plain, able)]


Ask = Callable[..., httpx.Response]


class Asked:
    """A site in this process: each call is a request."""

    def __init__(self, models: list[Served], **limits: Any) -> None:
        self.loop = asyncio.new_event_loop()
        settings = replace(Serving(wait_ms=1), **limits)
        self.lines: list[str] = []
        log = logging.Logger("test")
        log.addHandler(Lines(self.lines))
        self.site = Site(models, settings, log)
        transport = httpx.ASGITransport(self.site.gate, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)

    def get(self, address: str, **more: Any) -> httpx.Response:
        return self.loop.run_until_complete(self.client.get(address, **more))

    def post(self, address: str, tree: Any = None, **more: Any) -> httpx.Response:
        given = {"json": tree, **more} if tree is not None else more
        return self.loop.run_until_complete(self.client.post(address, **given))

    def together(self, requests: list[tuple[str, Any]]) -> list[httpx.Response]:
        async def all_of_them() -> list[httpx.Response]:
            return await asyncio.gather(*(self.client.post(address, json=tree) for address, tree in requests))

        return self.loop.run_until_complete(all_of_them())

    def close(self) -> None:
        self.loop.run_until_complete(self.site.shop.close(60))
        self.loop.close()


class Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def asked(models: list[Served]) -> Iterator[Asked]:
    found = Asked(models)
    yield found
    found.close()


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


@pytest.fixture
def red() -> bytes:
    return toy_picture("red", "square", 0)


@pytest.fixture
def blue() -> bytes:
    return toy_picture("blue", "dot", 1)
