"""torch.compile by config: the same steps, on every engine."""

import json
from pathlib import Path

import pytest
from compile_worker import COMPILED

from tests.ranks import launch

WORKER = Path(__file__).with_name("compile_worker.py")


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(300)
def test_compiled_towers_take_the_steps_of_those_that_are_not(tmp_path: Path) -> None:
    launch(WORKER, str(tmp_path), timeout=280)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["graphs"] > 0, "something was compiled"
    for kind in COMPILED:
        plain, compiled = (report["records"][f"{kind} {which}"] for which in (False, True))
        for mine, expected in zip(compiled, plain, strict=True):
            assert mine == pytest.approx(expected, rel=1e-6), kind
