"""A training run of two real ranks, each with its own copy of the data, as on two machines with local disks."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mmpretrain.core.files import read_json_lines
from mmpretrain.data.dataset import Dataset
from mmpretrain.recipes.evaluate import evaluate
from tests.conftest import ConfigWriter
from tests.masks import pack_boxes

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
SECONDS = 90


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_on_two(config: Path, places: list[Path]) -> list[tuple[int, str]]:
    """Exit code and stderr of each rank, started in its own folder."""
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "mmpretrain", "pretrain", str(config)],
            cwd=place,
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, place in enumerate(places)
    ]
    try:
        return [(rank.wait(SECONDS), rank.communicate()[1]) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()


@pytest.fixture
def places(tmp_path: Path, shapes: Path) -> list[Path]:
    """Two folders, each with an indexed copy of the toy dataset."""
    found = [tmp_path / "machine0", tmp_path / "machine1"]
    for place in found:
        shutil.copytree(shapes, place / "toys")
        for split in ("train", "val"):
            Dataset(str(place / "toys"), split)
    return found


def ddp(toy_config: ConfigWriter, **more: object) -> Path:
    engine = {"kind": "ddp", "precision": "fp32", "timeout_seconds": 60}
    return toy_config(data__name="toys", engine=engine, evaluation=[], **more)


def said(answers: list[tuple[int, str]]) -> list[str]:
    return [line for _, errors in answers for line in errors.splitlines() if "error:" in line]


def test_a_shard_that_is_missing_on_one_rank_ends_both(toy_config: ConfigWriter, places: list[Path]):
    (places[1] / "toys" / "train-00001.tar").unlink()
    answers = run_on_two(ddp(toy_config), places)
    assert [code for code, _ in answers] == [3, 3], answers
    (line,) = said(answers)
    assert "1 of 3 shards of 'train' are missing, first train-00001.tar" in line


def test_ranks_that_read_different_copies_are_refused_before_the_first_step(
    toy_config: ConfigWriter, places: list[Path]
):
    names = [places[1] / "toys" / f"train-0000{number}.tar" for number in (1, 2)]
    swapped = [name.read_bytes() for name in reversed(names)]
    for name, content in zip(names, swapped, strict=True):
        name.write_bytes(content)
    for stale in [*(places[1] / "toys").glob("*.index"), places[1] / "toys" / "manifest.json"]:
        stale.unlink()
    answers = run_on_two(ddp(toy_config), places)
    assert [code for code, _ in answers] == [3, 3], answers
    (line,) = said(answers)
    assert "toys:train: the shards that rank 1 read are not those of rank 0" in line


def test_masks_are_measured_alike_by_two_ranks_and_by_one(toy_config: ConfigWriter, tmp_path: Path):
    """Seven pictures, which two ranks cannot share evenly."""
    config = toy_config(
        data__name=str(pack_boxes(tmp_path, train=12, val=7)),
        engine={"kind": "ddp", "precision": "fp32", "timeout_seconds": 60},
        objectives=[{"kind": "segmentation", "width": 16}],
        evaluation=[{"kind": "segmentation", "split": "val"}],
    )
    answers = run_on_two(config, [tmp_path, tmp_path])
    assert [code for code, _ in answers] == [0, 0], answers
    run = tmp_path / "runs" / "toy"
    (together,) = read_json_lines(run / "results.jsonl")
    assert together["metrics"]["mIoU"]["n"] == 7
    alone = evaluate(run, "segmentation", ":val", [], None)
    assert alone["metrics"] == together["metrics"]


@pytest.mark.parametrize(("norm", "in_ledger"), [("frozen", 0), ("group", 100)])
def test_a_disk_that_gives_nothing_right_on_one_rank_ends_both_with_one_message(
    toy_config: ConfigWriter, places: list[Path], tmp_path: Path, norm: str, in_ledger: int
):
    """With frozen norms when they are measured, before there is a run; else in its first step."""
    for path in (places[1] / "toys").glob("train-*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    answers = run_on_two(ddp(toy_config, towers__image__norm=norm), places)
    assert [code for code, _ in answers] == [3, 3], answers
    (line,) = said(answers)
    assert "100 samples in a row cannot be used" in line
    assert "checksum" in line
    ledger = tmp_path / "runs" / "toy" / "ledger.jsonl"
    assert len(read_json_lines(ledger)) == in_ledger
