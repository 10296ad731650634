"""int8 folders: what onnxruntime says of them, what runs them, and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmpretrain.compression.graph import fold
from mmpretrain.compression.quantize import Quantize, require_onnxruntime
from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.compressing.quantized import write_quantized
from mmpretrain.recipes.opened import Opened
from tests.conftest import toy_picture


def test_an_int8_folder_is_smaller_says_nearly_the_same_and_runs_its_example(
    opened: Opened, exported: Path, tmp_path: Path
):
    out = tmp_path / "int8"
    report = write_quantized(Quantize(batches=1, exclude=[]), opened, exported, out)
    assert {name: facts["mode"] for name, facts in report["graphs"].items()} == {"image": "static", "text": "dynamic"}
    assert report["graphs"]["image"]["bytes"] < report["graphs"]["image"]["fp32_bytes"] / 2
    assert all(value > 0.98 for value in report["cosine_to_fp32"].values())
    picture = tmp_path / "red.png"
    picture.write_bytes(toy_picture("red", "square", 1, 32))
    words = [sys.executable, str(out / "run_example.py"), str(picture), "--texts", "a red square", "a dog"]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("a red square") == 1


@pytest.mark.parametrize("how", [{"image": "dynamic", "text": "none"}, {"text": "static", "format": "qoperator"}])
def test_every_mode_writes_graphs_that_run(opened: Opened, exported: Path, tmp_path: Path, how: dict):
    report = write_quantized(
        Quantize(batches=1, calibration="percentile", per_channel=False, **how), opened, exported, tmp_path / "q"
    )
    assert report["graphs"]["text"]["mode"] == how["text"]
    assert all(value > 0.9 for value in report["cosine_to_fp32"].values())


def test_a_node_that_no_graph_has_is_refused_and_nothing_is_left(opened: Opened, exported: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="no graph has a node 'softmax_of_mine'"):
        write_quantized(Quantize(batches=1, exclude=["softmax_of_mine"]), opened, exported, tmp_path / "q")
    assert not (tmp_path / "q").exists()
    assert not list(tmp_path.glob("q*"))


def test_a_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r'needs onnxruntime; pip install -e "\.\[export\]"'):
        require_onnxruntime()


def test_calibration_without_its_data_says_what_to_do(opened: Opened, exported: Path, tmp_path: Path):
    gone = replace(opened.config, data=replace(opened.config.data, name=str(tmp_path / "gone")))
    with pytest.raises(ConfigError, match="image: dynamic"):
        write_quantized(Quantize(batches=1), replace(opened, config=gone), exported, tmp_path / "q")


def test_divisions_and_means_in_front_of_a_convolution_go_into_its_weights(tmp_path: Path):
    file = tmp_path / "graph.onnx"
    random = np.random.default_rng(0)
    tensors = {
        "std": random.uniform(1, 2, (3, 1, 1)),
        "first": random.normal(size=(4, 3, 3, 3)),
        "second": random.normal(size=(5, 4, 1, 1)),
    }
    nodes = [
        helper.make_node("Div", ["x", "std"], ["divided"]),
        helper.make_node("Conv", ["divided", "first"], ["seen"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("AveragePool", ["seen"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "second"], ["y"], kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 9, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(file))
    x = {"x": random.normal(size=(2, 3, 9, 8)).astype(np.float32)}
    before = onnxruntime.InferenceSession(str(file)).run(None, x)[0]
    assert fold(file) == 2
    assert [node.op_type for node in onnx.load(str(file)).graph.node] == ["Conv", "Conv"]
    np.testing.assert_allclose(onnxruntime.InferenceSession(str(file)).run(None, x)[0], before, atol=1e-5)
    assert fold(file) == 0


def test_the_report_of_an_int8_folder_names_the_run(opened: Opened, exported: Path, tmp_path: Path):
    write_quantized(Quantize(batches=1, image="none", text="none"), opened, exported, tmp_path / "q")
    found = json.loads((tmp_path / "q" / "export_report.json").read_text())
    assert found["run"] == str(opened.folder)
    assert found["cosine_to_fp32"] == {"image": pytest.approx(1, abs=1e-5), "text": pytest.approx(1, abs=1e-5)}
