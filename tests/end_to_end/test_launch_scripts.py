"""The scripts that `mmpretrain launch` writes for two nodes, started as two nodes would, both on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter
from tests.end_to_end.test_two_ranks import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_json_lines(folder / "metrics.jsonl")]


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "engine"), [("torchrun", "ddp"), ("deepspeed", "deepspeed")])
def test_two_nodes_find_each_other_and_train_as_one_process_does(
    toy_config: ConfigWriter, tmp_path: Path, kind: str, engine: str
):
    more = {"train__log_every": 1, "evaluation": []}
    alone = pretrain(toy_config("alone", **more), [], "auto", Console(quiet=True)).folder
    config = toy_config("two", engine={"kind": engine, "precision": "fp32", "timeout_seconds": 60}, **more)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PORT": free_port()}
    layout = ("--nodes", "2", "--gpus-per-node", "1", "--hosts", "127.0.0.1,localhost", "--no-dry-run")
    launch = [sys.executable, "-m", "mmpretrain", "launch", kind, str(config), *layout]
    subprocess.run(launch, env=environment, check=True, timeout=90)

    run = tmp_path / "runs" / "two"
    script = run / "launch" / f"{kind}.sh"
    nodes = [subprocess.Popen([script], env={**environment, "NODE": str(node)}) for node in range(2)]
    try:
        assert [node.wait(120) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    assert (run / "complete").exists()
    assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
