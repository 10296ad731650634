"""Does onnxruntime, from the folder alone, say what torch says: every output, for few rows and many, and captions?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.export.captions import compare_captions
from mmpretrain.export.onnx_graphs import LENGTH, ROWS, Graph
from mmpretrain.export.trained import Compared, Trained, compare


def check_onnx(trained: Trained, graphs: Sequence[Graph], folder: Path, tolerance: float) -> list[Compared]:
    """Each graph on all samples, on the first alone, and with more padding; and the captions token by token."""
    from mmpretrain.export.run_example import Exported  # brings onnxruntime

    exported = Exported(folder)
    found = [each for graph in graphs for each in check_graph(graph, exported, tolerance)]
    return [*found, check_captions(trained, exported)] if trained.captioning is not None else found


def check_graph(graph: Graph, exported: Any, tolerance: float) -> list[Compared]:
    """The largest difference of each output over all ways to ask."""
    worst: dict[str, Compared] = {}
    for inputs in (graph.inputs, first_row(graph), more_padding(graph)):
        there = exported.run(graph.name, {name: tensor.numpy() for name, tensor in inputs.items()})
        for name, ours in zip(graph.outputs, graph.said(inputs), strict=True):
            one = compare(f"{graph.name}: {name}", ours, torch.from_numpy(there[name]), tolerance)
            if name not in worst or not one.largest_difference <= worst[name].largest_difference:
                worst[name] = one
    return list(worst.values())


def first_row(graph: Graph) -> dict[str, Tensor]:
    """The inputs of the first sample alone."""
    places = {name: next(axis for axis, what in graph.axes[name].items() if what == ROWS) for name in graph.inputs}
    return {name: tensor.narrow(places[name], 0, 1).contiguous() for name, tensor in graph.inputs.items()}


def more_padding(graph: Graph) -> dict[str, Tensor]:
    """Texts with one more place behind them, where the context has one; other inputs as they are."""
    return {
        name: F.pad(tensor, (0, 1)) if LENGTH in graph.axes[name].values() and graph.room else tensor
        for name, tensor in graph.inputs.items()
    }


def check_captions(trained: Trained, exported: Any) -> Compared:
    """Written without torch, from the pictures on."""
    seen = exported.run("image", {"images": trained.samples.images_BCHW.numpy()})
    return compare_captions(trained, torch.from_numpy(exported.write(seen["image_tokens"])))
