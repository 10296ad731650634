"""Evaluation by one to four real processes: the same figures and the same lines, on sizes that do not divide."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from mmpretrain.evaluation.build import tasks
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter
from tests.ranks import launch
from tests.tasks import quiz

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
WORKER = Path(__file__).with_name("rank_worker.py")
ANSWERS = {"kind": "question_answering", "split": "val", "head": "answer_writing"}
WRITTEN = [
    {**ANSWERS, "answers": "listed"},
    {**ANSWERS, "generation": {"kind": "beam", "width": 3, "most_tokens": 6}},
]
EVALUATORS = [
    {"kind": "retrieval", "split": "val", "rerank": 3},
    {"kind": "zero_shot", "split": "val"},
    {"kind": "held_out", "split": "val"},
    {"kind": "classification", "split": "val"},
    {"kind": "question_answering", "split": "val", "head": "question_answering"},
    *WRITTEN,
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
            {"kind": "answer_writing"},
        ],
        evaluation=[],
        train={"steps": 4},
    )
    return pretrain(config, [], "never", Console(quiet=True)).folder


def found_by(ranks: int, run: Path, folder: Path, evaluators: list[dict]) -> tuple[list[dict], dict[str, str]]:
    """Results and files of so many ranks."""
    (folder / "wanted.json").write_text(json.dumps({"run": str(run), "evaluators": evaluators}))
    launch(WORKER, str(folder), 200, ranks)
    records = json.loads((folder / f"found_{ranks}.json").read_text())
    # config digests name the engine; captions and figures do not
    found = [{**each, "seconds": 0, "config_digest": ""} for each in records]
    return found, {file.name: file.read_text() for file in sorted((run / "predictions").glob("*"))}


def test_one_to_four_ranks_find_the_same(run: Path, tmp_path: Path):
    found, kept = {}, {}
    for ranks in (1, 2, 3, 4):
        found[ranks], kept[ranks] = found_by(ranks, run, tmp_path, EVALUATORS)
    for ranks in (2, 3, 4):
        for one, several in zip(found[1], found[ranks], strict=True):
            assert one == several, (one["task"], ranks)
        assert kept[1] == kept[ranks]
    assert [record["task"] for record in found[1]] == [each["kind"] for each in EVALUATORS]
    # masks: tests/end_to_end/test_two_ranks.py
    assert {each["kind"] for each in EVALUATORS} | {"segmentation"} == set(tasks()), "every evaluator of the union"


def test_ranks_that_hold_parts_of_the_weights_write_and_rank_the_same_answers(run: Path, tmp_path: Path):
    alone, kept = found_by(1, run, tmp_path, WRITTEN)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["engine"] = {"kind": "deepspeed", "stage": 3, "precision": "fp32"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    shared, kept_shared = found_by(2, run, tmp_path, WRITTEN)
    assert alone == shared
    assert kept == kept_shared


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
