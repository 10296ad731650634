"""CLIP_benchmark, as its users install it, on an exported run: the recall that the run's own evaluation found."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.recipes.datasets import benchmark as data
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import find_config
from tests.export.runs import export
from tests.peers import environment

SPLIT = "unseen"
"""One artist, and so one gallery, as CLIP_benchmark has it."""
QUIET = Console(quiet=True)
RECALLS = (1, 5, 10)
PACKAGES = ("clip-benchmark==1.6.2", "requests", "numpy<2.4")
"""Its release imports requests without saying so, and makes numbers of arrays as NumPy took it before 2.4."""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[str]:
    """The one that CLIP_BENCHMARK names, or that of an environment made here."""
    if known := os.environ.get("CLIP_BENCHMARK"):
        yield known
        return
    with environment(tmp_path / "venv", *PACKAGES) as programs:
        yield str(programs / "clip_benchmark")


def ask(program: str, hub: Path, task: str, folder: Path, *more: object) -> dict[str, float]:
    """What its command line finds, as `mmpretrain data export` says it is to be called."""
    data.benchmark(f"emoji:{SPLIT}", task, folder, QUIET)
    result = folder.with_suffix(".json")
    words = [program, "eval", "--model", f"local-dir:{hub}", "--pretrained", "", "--dataset", f"wds/{folder.name}"]
    words += ["--dataset_root", folder, "--split", SPLIT, "--task", f"zeroshot_{task}", "--no_amp", *more]
    subprocess.run([str(word) for word in [*words, "--output", result]], check=True)
    found: dict[str, float] = json.loads(result.read_text())["metrics"]
    return found


@pytest.mark.peers
@pytest.mark.timeout(3600)
def test_clip_benchmark_itself_finds_the_figures_of_the_runs_own_evaluation(tmp_path: Path, program: str) -> None:
    run, hub = tmp_path / "run", tmp_path / "hub"
    changes = ["train.steps=120", "optim.schedule.warmup=20", "evaluation=[]", f"run.folder={run}"]
    pretrain(find_config("pretrain", Path("quickstart")), changes, "never", QUIET)
    export(run, "--to", "open_clip", "--out", hub)
    theirs = ask(program, hub, "retrieval", tmp_path / "emoji", "--recall_k", *RECALLS)
    ours = evaluate(run, "retrieval", f"emoji:{SPLIT}", [], None, precision="fp32")["metrics"]
    for k in RECALLS:
        assert theirs[f"text_retrieval_recall@{k}"] == pytest.approx(ours[f"i2t_any_hit@{k}"]["value"], abs=1e-6)
        assert theirs[f"image_retrieval_recall@{k}"] == pytest.approx(ours[f"t2i_any_hit@{k}"]["value"], abs=1e-6)
    assert theirs["text_retrieval_recall@10"] > 0.05, "it has learned something"
    prompts = tmp_path / "category" / "prompts.json"
    theirs = ask(program, hub, "classification", tmp_path / "category", "--custom_template_file", prompts)
    ours = evaluate(run, "zeroshot", f"emoji:{SPLIT}", [], None, precision="fp32")["metrics"]
    for name in ("acc1", "acc5", "mean_per_class_recall"):
        assert theirs[name] == pytest.approx(ours[name]["value"], abs=1e-6)
