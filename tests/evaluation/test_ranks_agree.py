"""Evaluation by one to four real processes: the same figures and the same lines, on sizes that do not divide."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.evaluation.build import tasks
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter
from tests.ranks import launch
from tests.tasks import quiz

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
WORKER = Path(__file__).with_name("rank_worker.py")
EVALUATORS = [
    {"kind": "retrieval", "split": "val", "rerank": 3},
    {"kind": "zero_shot", "split": "val"},
    {"kind": "held_out", "split": "val"},
    {"kind": "classification", "split": "val"},
    {"kind": "question_answering", "split": "val"},
    {"kind": "captioning", "split": "val", "tokenizer": "approx", "java_scores": []},
    {"kind": "probe", "split": "val", "vectors": "image"},
    {"kind": "few_shot", "split": "val", "shots": [1, 2], "seeds": 2},
]


@pytest.fixture
def run(toy_config: ConfigWriter, tmp_path: Path) -> Path:
    """A run that has learned a little of everything."""
    config = toy_config(
        data__name=str(quiz(tmp_path / "quiz")),
        towers={
            "image": {"kind": "timm", "name": "test_vit", "size": 32},
            "text": {"kind": "causal", "width": 64, "layers": 1, "heads": 2},
            "fusion": {"layers": 1},
            "decoder": {"layers": 1},
            "embedding": 16,
        },
        objectives=[
            {"kind": "contrastive"},
            {"kind": "matching", "negatives_within": 12},
            {"kind": "captioning"},
            {"kind": "classification"},
            {"kind": "question_answering"},
        ],
        evaluation=[],
        train={"steps": 4},
    )
    return pretrain(config, [], "never", Console(quiet=True)).folder


def test_one_to_four_ranks_find_the_same(run: Path, tmp_path: Path):
    (tmp_path / "wanted.json").write_text(json.dumps({"run": str(run), "evaluators": EVALUATORS}))
    found, kept = {}, {}
    for ranks in (1, 2, 3, 4):
        launch(WORKER, str(tmp_path), 200, ranks)
        records = json.loads((tmp_path / f"found_{ranks}.json").read_text())
        found[ranks] = [{key: value for key, value in each.items() if key != "seconds"} for each in records]
        files = sorted((run / "predictions").glob("*"))
        # config digests name the engine; captions and figures do not
        kept[ranks] = {file.name: file.read_text() for file in files}
    for ranks in (2, 3, 4):
        for one, several in zip(found[1], found[ranks], strict=True):
            assert {**one, "config_digest": ""} == {**several, "config_digest": ""}, (one["task"], ranks)
        assert kept[1] == kept[ranks]
    assert [record["task"] for record in found[1]] == [each["kind"] for each in EVALUATORS]
    # masks: tests/end_to_end/test_two_ranks.py
    assert {each["kind"] for each in EVALUATORS} | {"segmentation"} == set(tasks()), "every evaluator of the union"


def test_ranks_that_evaluate_from_the_command_line_answer_once(run: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmpretrain", "evaluate", str(run), "--data", ":val", "--json"]
    ranks = [
        subprocess.Popen(
            [*command, "--fail-under", "t2i_R@1=1.1"],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [each.communicate(timeout=120) for each in ranks]
    finally:
        for each in ranks:
            each.kill()
    assert [each.returncode for each in ranks] == [4, 4]
    errors = [line for _, stderr in said for line in stderr.splitlines() if "error:" in line]
    assert len(errors) == 1, said
    assert "t2i_R@1 is" in errors[0]
    assert len((run / "results.jsonl").read_text().splitlines()) == 1
