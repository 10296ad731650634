"""`mmpretrain export --to onnx`: onnxruntime says what torch says, and the example needs no torch."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.data.transforms import Centre
from mmpretrain.export.onnx_check import check_onnx
from mmpretrain.export.onnx_files import write_graph
from mmpretrain.export.onnx_graphs import Graph, any_rows, graphs_of
from mmpretrain.export.report import refuse_differing
from mmpretrain.export.run_example import Exported
from mmpretrain.recipes.caption import caption
from mmpretrain.recipes.models import models
from mmpretrain.recipes.trained import load_trained
from tests.conftest import ConfigWriter, toy_picture
from tests.export.runs import export, refusal, train

WORDS = {"kind": "wordpiece", "context_length": 12, "vocabulary": 100}
ALL = {
    "data__tokenizer": WORDS,
    "objectives": [
        {"kind": "contrastive"},
        {"kind": "matching", "negatives_within": 4},
        {"kind": "captioning", "words": "seen"},
    ],
    "towers__fusion": {"layers": 1},
    "towers__decoder": {"layers": 1},
    "train__steps": 8,
    "optim__schedule__rate": 0.01,
}
BLOCKED = """
import runpy, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, *ALLOWED}:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

ALLOWED = "onnxruntime numpy PIL tokenizers run_example".split()
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Of the run's own size: Pillow and torch differ by rounding where they resize."""
    found = [tmp_path / f"{colour}.png" for colour in ("red", "blue")]
    for file in found:
        file.write_bytes(toy_picture(file.stem, "square", 1, 32))
    return found


def run_example(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """The script where nothing but its four packages can be imported."""
    words = [sys.executable, "-c", BLOCKED, folder / "run_example.py", *arguments]
    return subprocess.run([str(word) for word in words], capture_output=True, text=True)


def example(folder: Path, *arguments: object) -> str:
    """What it says."""
    answer = run_example(folder, *arguments)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def told(output: str, pictures: list[Path]) -> list[list[str]]:
    """The lines below each picture."""
    blocks: list[list[str]] = []
    for line in output.splitlines():
        if line.startswith("  "):
            blocks[-1].append(line.strip())
        else:
            assert line == str(pictures[len(blocks)])
            blocks.append([])
    return blocks


def captions(run: Path, pictures: list[Path], tmp_path: Path) -> list[str]:
    """As torch writes them."""
    caption(run, pictures, tmp_path / "captions.json", "greedy", {}, 64, Console(quiet=True))
    return [each["caption"] for each in json.loads((tmp_path / "captions.json").read_text())]


def assert_prepares_as_training_did(exported: Exported) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 37, 3), dtype=np.uint8)
    ours = Centre(32)(torch.from_numpy(noise).permute(2, 0, 1), 0).numpy()
    theirs = exported.prepare(Image.fromarray(noise))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@torch.no_grad()
def assert_other_weights_are_refused(run: Path, out: Path) -> None:
    """Once the run's fusion says something else than the files."""
    trained = load_trained(run, "", Console(quiet=True))
    trained.matching.head.bias[1] += 0.01
    found = check_onnx(trained, graphs_of(trained), out, 1e-4)
    assert [each.name for each in found if not each.passed] == ["fusion: log_odds"]
    with pytest.raises(MmpretrainError, match=r"on shapes:val: fusion: log_odds by 0.01 .* nothing was kept"):
        refuse_differing(trained, found)


def load_parts(run: Path) -> dict[str, int]:
    parts: dict[str, int] = json.loads((run / "model.json").read_text())["parameters"]
    return parts


def letters(text: str) -> str:
    """Without the spaces that people spell and word pieces do not."""
    return re.sub(r"\s", "", text)


def test_towers_fusion_and_decoder_say_what_torch_says(
    toy_config: ConfigWriter, tmp_path: Path, pictures: list[Path]
) -> None:
    run, out = train(toy_config, **ALL), tmp_path / "onnx"
    report = json.loads(export(run, "--to", "onnx", "--out", out, "--json"))
    assert {file.stem for file in out.glob("*.onnx")} == {"image", "text", "fusion", "decoder_first", "decoder_next"}
    (row,) = models([out], [], "", True, Console(quiet=True))
    assert row["tasks"] == ["retrieval", "matching", "captions", "zero-shot"]
    assert row["parameters"] == sum(load_parts(run).values()), "as the run has them"
    assert row["latency"]["image"]["1"] > 0 < row["latency"]["text"]["32"]
    parts = {each["name"]: each for each in report["parts"]}
    assert all(each["passed"] and each["numbers"] for each in parts.values())
    assert {"image: image_embedding", "text: text_embedding", "fusion: log_odds"} < parts.keys()
    assert parts["tokens of captions that differ"]["tolerance"] == 0
    assert all(each["bytes"] and each["opset"] >= 18 for each in report["graphs"].values())
    assert json.loads((out / "preprocess.json").read_text())["scale"] == pytest.approx(1 / 0.07, rel=0.5)
    assert_prepares_as_training_did(Exported(out))
    texts = ["a red square", "a blue &amp; grey dot that is far too long to be read as a whole"]
    blocks = told(example(out, *pictures, "--texts", *texts), pictures)
    assert [len(lines) for lines in blocks] == [2 + 2 + 1] * 2
    assert len({line.split()[2] for lines in blocks for line in lines[:2]}) > 1, "it tells pictures or texts apart"
    for lines in blocks:
        assert sum(float(line.split("%")[0]) for line in lines[:2]) == pytest.approx(100, abs=0.11)
        cosines = [float(line.split()[2]) for line in lines[:2]]
        assert cosines == sorted(cosines, reverse=True), "the best first"
    written = [lines[-1].removeprefix("caption: ") for lines in blocks]
    assert list(map(letters, written)) == list(map(letters, captions(run, pictures, tmp_path)))
    assert all(letters(each) for each in written)
    assert_other_weights_are_refused(run, out)
    assert_it_says_in_a_line_what_it_needs(out, pictures[0])


def assert_it_says_in_a_line_what_it_needs(out: Path, picture: Path) -> None:
    """Of a model that compares alone."""
    for graph in ("fusion", "decoder_first", "decoder_next"):
        (out / f"{graph}.onnx").unlink()

    def complaint(*arguments: object) -> str:
        answer = run_example(out, *arguments)
        assert (answer.returncode, answer.stdout) == (2, "")
        return str(answer.stderr.splitlines()[-1])

    assert "it compares pictures with texts; add some: " in complaint(picture)
    assert "preprocess.json: no picture that can be read: " in complaint(out / "preprocess.json", "--texts", "a dot")
    (line,) = told(example(out, picture, "--texts", "a dot"), [picture])[0]
    assert line.startswith("cosine "), "no share of one text"


class Undecided(torch.nn.Module):
    """Goes another way for dark pictures, which no graph does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.float().mean() > 1 else images.flip(0)


def test_what_cannot_be_traced_is_one_line(tmp_path: Path) -> None:
    images = {"images": torch.zeros(2, 3, 4, 4)}
    graph = Graph(name="image", module=Undecided(), inputs=images, axes=any_rows("images"), outputs=["seen"])
    with pytest.raises(MmpretrainError, match=r"--to onnx: torch cannot trace the graph image: [^\n]+$"):
        write_graph(graph, tmp_path / "image.onnx")


def test_a_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = refusal(ConfigError, tmp_path / "no run is needed", "--to", "onnx", "--out", tmp_path / "onnx")
    assert said == '--to onnx: needs onnxscript; pip install -e ".[export]"'
