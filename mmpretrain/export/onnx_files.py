"""A folder for onnxruntime: graphs, what prepares pictures and texts, and a script that shows how."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.installed import require
from mmpretrain.core.quiet import quiet
from mmpretrain.export.captions import greedy
from mmpretrain.export.onnx_graphs import Graph
from mmpretrain.export.trained import Trained
from mmpretrain.towers.image_tower import NORMALISATIONS

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 23
"""The first one with attention as one operator; before it, that was twenty, a sixth of the time of a short text.
onnxruntime reads it since 1.23."""
PREPROCESS, TOKENIZER = "preprocess.json", "tokenizer.json"


def require_onnx() -> None:
    """Raises ConfigError: a package is missing."""
    require(PACKAGES, "--to onnx", "export")


def write_onnx(trained: Trained, graphs: Sequence[Graph], folder: Path) -> dict[str, Any]:
    """All files; returns the size in bytes and the opset of each graph."""
    facts = {}
    for graph in graphs:
        file = folder / f"{graph.name}.onnx"
        opset = write_graph(graph, file)
        facts[graph.name] = {"bytes": sum(each.stat().st_size for each in folder.glob(f"{file.name}*")), "opset": opset}
    (folder / PREPROCESS).write_text(json.dumps(preprocess(trained), indent=2) + "\n", encoding="utf-8")
    (folder / TOKENIZER).write_text(trained.tokenizer.to_json(), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("run_example.py"), folder / "run_example.py")
    return {"graphs": facts}


def write_graph(graph: Graph, file: Path) -> int:
    """One file, with any number of rows; returns its opset.

    Towers ask for `x.shape[0]` and not for `len(x)`, which the tracer would take for a constant.

    Raises:
        MmpretrainError: torch cannot trace it, as a tower that decides by what it sees.
    """
    axes: list[Any] = [graph.axes[name] for name in graph.inputs]
    many = graph.name == "decoder_next"  # its module takes what is remembered as *arguments
    try:
        with quiet():  # the exporter tells of every pass that it makes
            program: Any = torch.onnx.export(
                graph.module.eval(),
                tuple(graph.inputs.values()),
                dynamo=True,
                dynamic_shapes=(axes[0], tuple(axes[1:])) if many else tuple(axes),
                input_names=list(graph.inputs),
                output_names=graph.outputs,
                verbose=False,
                opset_version=OPSET,
            )
    except Exception as error:  # of many kinds
        said = " ".join(str(error.__cause__ or error).split())[:200]
        raise MmpretrainError(f"--to onnx: torch cannot trace the graph {graph.name}: {said}") from error
    program.save(str(file))
    return int(program.model.opset_imports[""])


def preprocess(trained: Trained) -> dict[str, Any]:
    """What `run_example.py` has to know; pictures are normalised inside the graph."""
    image, tokenizer = trained.towers.image, trained.tokenizer
    assert image is not None
    start, end = tokenizer.ends
    mean, std = NORMALISATIONS[image.normalisation]
    found: dict[str, Any] = {
        "images": "uint8, batch x 3 x size x size, RGB from 0 to 255; the graph normalises by mean and std",
        "size": image.size,
        "resize": "the shorter side to size, bicubic, antialiased",
        "crop": "centre",
        "transparency": "over white",
        "mean": mean,
        "std": std,
        "context_length": tokenizer.context_length,
        "whole_words": tokenizer.whole_words,
        "start": start,
        "end": end,
    }
    if trained.pairs is not None:
        bias = getattr(trained.pairs, "bias", None)
        found |= {"scale": float(trained.pairs.scale()), "bias": None if bias is None else float(bias)}
    if trained.captioning is not None:
        way = greedy(trained.tokenizer)
        found |= {"most_tokens": way.most_tokens, "least_tokens": way.least_tokens}
    return found
