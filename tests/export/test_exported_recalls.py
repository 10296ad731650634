"""CLIP_benchmark, as its users install it, on an exported run: the recall that the run's own evaluation found."""

import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import webdataset
from PIL import Image
from rich.console import Console

from mmpretrain.data.dataset import Dataset
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import find_config
from tests.export.runs import export

SPLIT = "unseen"
"""One artist, and so one gallery, as CLIP_benchmark has it."""
RECALLS = (1, 5, 10)


def installed(folder: Path) -> str:
    """Its program: the one that CLIP_BENCHMARK names, or that of an environment made here."""
    if program := os.environ.get("CLIP_BENCHMARK"):
        return program
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # it imports requests and does not say so
    subprocess.run([folder / "bin/pip", "install", "--quiet", "clip-benchmark", "requests"], check=True)
    return str(folder / "bin/clip_benchmark")


def write_layout(folder: Path) -> Path:
    """The split as its webdataset layout has retrieval: pictures with their captions, a line each."""
    (folder / SPLIT).mkdir(parents=True)
    (folder / "dataset_type.txt").write_text("retrieval\n")
    (folder / SPLIT / "nshards.txt").write_text("1\n")
    pictures, captions = {}, defaultdict(list)
    for sample in Dataset("emoji", SPLIT).samples():
        pictures.setdefault(sample.image_group, sample.image)  # equal ones are one picture
        captions[sample.image_group].append(sample.caption)
    with webdataset.TarWriter(str(folder / SPLIT / "0.tar")) as tar:
        for number, (group, image) in enumerate(pictures.items()):
            picture = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(picture, "PNG")
            text = "\n".join(captions[group]).encode()
            tar.write({"__key__": f"{number:06d}", "png": picture.getvalue(), "txt": text})
    return folder


@pytest.mark.peers
@pytest.mark.timeout(3600)
def test_clip_benchmark_itself_finds_the_recall_of_the_runs_own_evaluation(tmp_path: Path) -> None:
    changes = ["train.steps=120", "optim.schedule.warmup=20", "engine.precision=fp32", "evaluation=[]"]
    quickstart = find_config("pretrain", Path("quickstart"))
    run = pretrain(quickstart, [*changes, f"run.folder={tmp_path / 'run'}"], "never", Console(quiet=True)).folder
    ours = evaluate(run, "retrieval", f"emoji:{SPLIT}", [], None)["metrics"]
    export(run, "--to", "open_clip", "--out", tmp_path / "hub")
    result, folder = tmp_path / "result.json", write_layout(tmp_path / "emoji")
    words = [installed(tmp_path / "venv"), "eval", "--dataset", "wds/emoji", "--dataset_root", folder]
    words += ["--split", SPLIT, "--task", "zeroshot_retrieval", "--recall_k", *RECALLS, "--num_workers", 0]
    words += ["--model", f"local-dir:{tmp_path / 'hub'}", "--pretrained", "", "--no_amp", "--output", result]
    subprocess.run([str(word) for word in words], check=True)
    theirs = json.loads(result.read_text())["metrics"]
    for k in RECALLS:
        assert theirs[f"text_retrieval_recall@{k}"] == pytest.approx(ours[f"i2t_any_hit@{k}"]["value"], abs=1e-6)
        assert theirs[f"image_retrieval_recall@{k}"] == pytest.approx(ours[f"t2i_any_hit@{k}"]["value"], abs=1e-6)
    assert theirs["text_retrieval_recall@10"] > 0.05, "it has learned something"
