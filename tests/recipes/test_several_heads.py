"""Several heads and objectives with weights in one run: trained together, all evaluated, resumed bit for bit."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors
from mmpretrain.recipes.answer import answer
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.page import write_report
from tests.conftest import ConfigWriter, toy_picture
from tests.tasks import quiz

QUIET = Console(quiet=True)
WEIGHTS = {"classification": 0.5, "captioning": 1.5, "contrastive": 1.0, "question_answering": 2.0}
TOWERS = {
    "image": {"kind": "timm", "name": "test_vit", "size": 32},
    "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
    "decoder": {"layers": 1},
    "embedding": 16,
}
SHORT = ["tokenizer=approx", "java_scores=[]", "generation.most_tokens=6"]


def objectives(kinds: list[str], sources: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    more = {"question_answering": {"reads": "product"}}
    named = {kind: {"sources": [str(sources[kind])]} for kind in kinds} if sources else {}
    return [{"kind": kind, "weight": WEIGHTS[kind], **more.get(kind, {}), **named.get(kind, {})} for kind in kinds]


def weights(run: Run, step: int) -> dict[str, torch.Tensor]:
    return load_tensors(run.checkpoints / f"step_{step:08d}" / "weights.safetensors")


def resumed(run: Run, config: Path) -> dict[str, torch.Tensor]:
    """The last weights, once the run has gone on from its third step."""
    shutil.rmtree(run.checkpoints / "step_00000006")
    run.complete.unlink()
    assert (run.checkpoints / "step_00000003").is_dir()
    return weights(pretrain(config, [], "auto", QUIET), 6)


def is_weighted_sum(record: dict[str, float], kinds: list[str]) -> bool:
    return record["loss"] == pytest.approx(sum(WEIGHTS[kind] * record[f"{kind}/loss"] for kind in kinds), rel=1e-5)


def test_a_class_a_caption_and_a_match_are_learned_from_one_dataset(toy_config: ConfigWriter):
    kinds = ["classification", "captioning", "contrastive"]
    asked = [{"kind": kind, "split": "val"} for kind in ("classification", "retrieval", "held_out")]
    more = {"towers": TOWERS, "objectives": objectives(kinds), "evaluation": asked, "train__save_every": 3}
    config = toy_config("together", **more)
    run = pretrain(config, [], "auto", QUIET)
    assert all(is_weighted_sum(record, kinds) for record in read_json_lines(run.metrics))
    assert [each["task"] for each in read_json_lines(run.results)] == ["classification", "retrieval", "held_out"]
    assert "captioning_loss" in read_json_lines(run.results)[2]["metrics"]
    before = weights(run, 6)
    after = resumed(run, config)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_questions_of_another_dataset_are_learned_beside_them(toy_config: ConfigWriter, shapes: Path, tmp_path: Path):
    pytest.importorskip("pycocoevalcap")
    asked = quiz(tmp_path / "quiz")
    sources = {**dict.fromkeys(WEIGHTS, shapes), "question_answering": asked}
    config = toy_config(
        "mixed",
        data={
            "sources": [{"name": str(shapes), "weight": 2}, {"name": str(asked), "weight": 1}],
            "batch": 12,
            "workers": 0,
            "tokenizer": {"kind": "wordpiece", "context_length": 12, "vocabulary": 200},
        },
        towers=TOWERS,
        objectives=objectives(list(WEIGHTS), sources),
        evaluation=[],
        train__save_every=3,
    )
    run = pretrain(config, [], "auto", QUIET)
    assert all(is_weighted_sum(record, list(WEIGHTS)) for record in read_json_lines(run.metrics))
    found = {
        task: evaluate(run.folder, task, f"{data}:val", [], None, settings)["metrics"]
        for task, data, settings in (
            ("classification", shapes, []),
            ("captioning", shapes, SHORT),
            ("retrieval", shapes, []),
            ("vqa", asked, []),
        )
    }
    assert found["classification"]["acc1"]["n"] == 13
    assert found["vqa"]["vqa_acc"]["n"] == 29
    assert {"CIDEr", "i2t_R@10"} < {name for each in found.values() for name in each}
    (tmp_path / "red.png").write_bytes(toy_picture("red", "dot", 0))
    facts = answer(run.folder, tmp_path / "red.png", ["is it red?"], "", 2, QUIET)
    assert len(facts["questions"][0]["answers"]) == 2
    page = write_report(run).read_text()
    for title in ("Visual question answering", "Classification", "Captioning", "Retrieval"):
        assert title in page
    before = weights(run, 6)
    after = resumed(run, config)
    assert all(torch.equal(before[name], after[name]) for name in before)
