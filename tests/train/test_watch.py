"""Ranks that make no progress end; those that wait for a program of others do not."""

import os
import socket
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch.multiprocessing as processes

from mmpretrain.core.distributed import on_main, process_group
from mmpretrain.core.phases import progress
from mmpretrain.train.watch import stacks_file, watching

RANKS = 2
PATIENCE_SECONDS = 2.0


def rank_that_watches(rank: int, port: int, folder: str, opaque: bool) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(port)

    def work() -> str:
        with progress.opaque() if opaque else nullcontext():
            time.sleep(3 * PATIENCE_SECONDS)
        return "well"

    with process_group("gloo", 30) as world, watching(world, Path(folder), PATIENCE_SECONDS):
        (Path(folder) / f"said{rank}").write_text(on_main(work))


def run(folder: Path, opaque: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.spawn(rank_that_watches, args=(port, str(folder), opaque), nprocs=RANKS)


@pytest.mark.processes
@pytest.mark.timeout(90)
def test_work_of_a_program_of_others_may_take_longer_than_the_patience(tmp_path: Path):
    run(tmp_path, opaque=True)
    assert [(tmp_path / f"said{rank}").read_text() for rank in range(RANKS)] == ["well"] * RANKS


@pytest.mark.processes
@pytest.mark.timeout(90)
def test_a_main_rank_that_stands_still_ends_all(tmp_path: Path):
    with pytest.raises(processes.ProcessExitedException):
        run(tmp_path, opaque=False)
    assert "no progress for 2 s" in stacks_file(tmp_path, 1).read_text()
