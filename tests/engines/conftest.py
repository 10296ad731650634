"""The single engine's run, and one launch of two ranks that takes every other engine through the same."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trial import EMA, ENGINES, SAVED, STEPS, build_engine, build_module, run, save_state, save_weights

WORKER = Path(__file__).with_name("engine_worker.py")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Records of one process and one micro-batch; its folder holds the state of the middle and the end."""
    folder = tmp_path_factory.mktemp("engines")
    full = run(build_engine(ENGINES["single"], build_module()), range(STEPS))
    engine = build_engine(ENGINES["single"], build_module(frozen=True), EMA)
    frozen = run(engine, range(SAVED))
    save_state(engine, folder / "single")
    frozen += run(engine, range(SAVED, STEPS))
    save_weights(engine, folder / "single" / "end")
    return {"folder": folder, "full": full, "frozen": frozen}


@pytest.fixture(scope="session")
def report(reference: dict[str, Any]) -> dict[str, Any]:
    """What the engines did on two ranks."""
    launch(WORKER, str(reference["folder"]), timeout=200)
    return json.loads((reference["folder"] / "report.json").read_text())


def launch(script: Path, *arguments: str, timeout: float) -> None:
    """Two ranks on a free port; nothing of them is left behind, whatever happens."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, output[-8000:]
