"""An exported folder is served as its run is, as far as its graphs go."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.search import open_indexes
from mmpretrain.recipes.served.folder import open_folder
from tests.commands import command
from tests.conftest import toy_picture
from tests.serving.site import Asked, data_url


@pytest.fixture(scope="module")
def export(plain: Path, quiz_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "small"
    answer = command("export", plain, "--to", "onnx", "--out", out, "--data", f"{quiz_data}:val")
    assert answer.returncode == 0, answer.stderr
    answer = command("search", "index", out, "held", "--data", f"{quiz_data}:val")
    assert answer.returncode == 0, answer.stderr
    return out


def test_it_says_what_its_run_says(export: Path, plain: Path) -> None:
    asked = Asked([open_folder(plain), open_folder(export, indexes=open_indexes(export))])
    red, blue = (data_url(toy_picture(colour, "frame", 2)) for colour in ("red", "blue"))
    inputs = {"input": ["what colour is it?", "is it red?", red, blue]}
    run, small = (asked.post("/v1/embeddings", {**inputs, "model": name}).json() for name in ("plain", "small"))
    numbers = [np.array([each["embedding"] for each in found["data"]]) for found in (run, small)]
    assert np.abs(numbers[0] - numbers[1]).max() < 1e-4
    asks = {"image": red, "labels": ["red", "blue"]}
    run, small = (asked.post("/v1/classify", {**asks, "model": name}).json() for name in ("plain", "small"))
    assert [each["label"] for each in run["classes"]] == [each["label"] for each in small["classes"]]
    assert run["classes"][0]["probability"] == pytest.approx(small["classes"][0]["probability"], abs=1e-3)
    assert asked.post("/v1/search", {"text": "red", "model": "small"}).json()["count"] == 29
    facts = asked.get("/v1/models").json()["data"][1]
    assert (facts["kind"], facts["can"]) == ("onnx", ["embeddings", "labels", "search"])
    for route, more in (("caption", {}), ("answer", {"question": "a"}), ("classify", {})):
        response = asked.post(f"/v1/{route}", {"image": red, "model": "small", **more})
        assert response.status_code == 404, response.text
    asked.close()


def test_a_folder_that_lacks_something_is_refused_by_name(export: Path, tmp_path: Path) -> None:
    for name in ("text.onnx", "tokenizer.json"):
        part = Path(shutil.copytree(export, tmp_path / name))
        (part / name).unlink()
        with pytest.raises(ConfigError, match=f"has no {name}"):
            open_folder(part)
    damaged = Path(shutil.copytree(export, tmp_path / "damaged"))
    (damaged / "image.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match="onnxruntime cannot load it"):
        open_folder(damaged)
    facts = json.loads((damaged / "preprocess.json").read_text())
    (damaged / "preprocess.json").write_text(json.dumps({**facts, "size": None}))
    with pytest.raises(ConfigError, match=r"damaged"):
        open_folder(damaged)
