"""What a run writes is shown: captions, hidden words found again and others."""

from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.folder import read_folder
from mmpretrain.report.page import write_report
from mmpretrain.report.written import build_written
from tests.conftest import ConfigWriter


@pytest.fixture
def run(toy_config: ConfigWriter) -> Run:
    """Every objective that writes, learned for long enough to have the commonest word."""
    config = toy_config(
        towers={
            "image": {"kind": "timm", "name": "test_resnet", "size": 64, "norm": "frozen"},
            "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
            "fusion": {"layers": 1},
            "decoder": {"layers": 1},
            "embedding": 16,
        },
        objectives=[
            {"kind": "contrastive"},
            {"kind": "captioning", "words": "seen"},
            {"kind": "image_masked_language", "share": 0.5},
            {"kind": "matching", "negatives_within": 4},
        ],
        optim={"schedule": {"rate": 0.01, "warmup": 5}},
        train={"steps": 40, "log_every": 10},
        evaluation=[{"kind": "held_out", "split": "val"}],
    )
    return pretrain(config, [], "never", Console(quiet=True))


def test_captions_and_hidden_words_stand_in_predictions_and_on_the_page(run: Run) -> None:
    record = read_folder(run)
    (split,) = build_written(record) or []
    assert split.label == "val"
    assert split.captions
    assert len(split.samples) == 13
    for sample in split.samples:
        assert sample["image"]
        assert " ".join(word["word"] for word in sample["words"]) == sample["caption"]
    assert any("guess" in word for sample in split.samples for word in sample["words"])
    assert any(sample["written"].split()[0] in ("a", "the", "two") for sample in split.samples if sample["written"])
    page = write_report(run).read_text(encoding="utf-8")
    assert split.words in page
    assert "Written" in page
    metrics = read_json_lines(run.results)[-1]["metrics"]
    assert {f"{name}_accuracy" for name in ("captioning", "matching", "image_masked_language")} <= metrics.keys()


def test_a_run_without_such_objectives_has_no_such_section(toy_config: ConfigWriter, tmp_path: Path) -> None:
    run = pretrain(toy_config(train={"steps": 3}, optim={"schedule": {"warmup": 1}}), [], "never", Console(quiet=True))
    assert build_written(read_folder(run)) is None
