"""One process's run, and one launch of two ranks that takes every other engine through the same."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from engine_cases import disturbed, in_bf16, interrupted, resumed, uninterrupted

from tests.ranks import launch

WORKER = Path(__file__).with_name("engine_worker.py")
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Reference:
    """One process with one micro-batch; everything is measured against it."""

    folder: Path
    full: Records
    frozen: Records


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("engines")
    full = uninterrupted("single", micros=1)
    return Reference(folder, full, interrupted("single", folder / "single", micros=1))


@pytest.fixture(scope="session")
def report(reference: Reference) -> dict[str, Any]:
    """What all engines did: one process here, the others on two ranks."""
    folder = reference.folder
    launch(WORKER, str(folder), timeout=240)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    micro = folder / "single_micro"
    report["uninterrupted"]["single"] = uninterrupted("single", micros=3)
    report["interrupted"]["single"] = interrupted("single", micro, micros=3)
    report["disturbed"]["single"] = disturbed("single", micro)
    report["resumed"]["single"] = resumed("single", folder)
    report["bf16"]["single"] = in_bf16("single")
    return report
