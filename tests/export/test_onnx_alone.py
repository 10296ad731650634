"""The ONNX folder where nothing is installed but what its script says it needs."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torchvision.transforms.v2.functional import pil_to_tensor

from mmpretrain.export.onnx_graphs import graphs_of
from mmpretrain.export.run_example import Exported
from mmpretrain.recipes.trained import load_trained
from tests.conftest import ConfigWriter, toy_picture
from tests.export.runs import export, train
from tests.export.test_onnx_files import ALL, captions, letters
from tests.peers import environment

PACKAGES = ("onnxruntime", "pillow", "numpy", "tokenizers")
TEXTS = ["a red square", "a blue dot"]
VECTORS = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
from PIL import Image
from pathlib import Path
from run_example import Exported
exported = Exported(Path(sys.argv[1]))
images = np.stack([exported.prepare(Image.open(name)) for name in sys.argv[4:]])
read = exported.run("text", exported.tokenize(sys.argv[3].split("|")))
np.savez(sys.argv[2], image=exported.run("image", {"images": images})["image_embedding"], text=read["text_embedding"])
"""


@pytest.mark.peers
@pytest.mark.timeout(1200)
def test_four_packages_give_torchs_vectors_and_captions(toy_config: ConfigWriter, tmp_path: Path) -> None:
    run, out = train(toy_config, **ALL), tmp_path / "onnx"
    export(run, "--to", "onnx", "--out", out)
    pictures = [tmp_path / f"{colour}.png" for colour in ("red", "blue", "green")]
    for file in pictures:
        file.write_bytes(toy_picture(file.stem, "square", 1, 32))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with environment(tmp_path / "venv", *PACKAGES) as programs:

        def python(*words: object) -> str:
            told = [str(programs / "python"), *map(str, words)]
            return subprocess.run(told, env=clean, check=True, capture_output=True, text=True).stdout

        assert "torch" not in python("-m", "pip", "list")
        said = python(out / "run_example.py", *pictures, "--texts", *TEXTS)
        python("-c", VECTORS, out, tmp_path / "vectors.npz", "|".join(TEXTS), *pictures)
    written = [line.partition("caption: ")[2] for line in said.splitlines() if "caption: " in line]
    assert list(map(letters, written)) == list(map(letters, captions(run, pictures, tmp_path)))
    graphs = {graph.name: graph for graph in graphs_of(load_trained(run, "", Console(quiet=True)))}
    with np.load(tmp_path / "vectors.npz") as found:
        images = torch.stack([pil_to_tensor(Image.open(file).convert("RGB")) for file in pictures])
        asked = {"image": {"images": images}, "text": tensors(Exported(out).tokenize(TEXTS))}
        for name, inputs in asked.items():
            torch.testing.assert_close(torch.from_numpy(found[name]), graphs[name].said(inputs)[0], atol=1e-5, rtol=0)


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
