"""Eight bits for weights and activations, through onnxruntime: an ONNX export in, a folder of the same kind out."""

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmpretrain.compression.graph import fold
from mmpretrain.compression.work import Step
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.quiet import quiet
from mmpretrain.core.settings import did_you_mean, settings

Mode = Literal["static", "dynamic", "none"]
Feed = Mapping[str, np.ndarray]
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
COPIED = ("preprocess.json", "tokenizer.json", "run_example.py")
STATIC = ("Conv", "Relu", "Clip", "MatMul", "Gemm", "Gather", "Add", "AveragePool", "MaxPool", "GlobalAveragePool")
"""What static quantization takes of an image tower: whole stretches between convolutions stay in eight bits."""
MATRICES = ("MatMul", "Gemm", "Gather", "Conv")
"""What is taken of all others: softmax and masks of attention lose too much."""


@settings
class Quantize(Step):
    """Write int8 ONNX files that onnxruntime runs, from the ONNX export of what the step before left."""

    kind: Literal["quantize"] = "quantize"
    image: Mode | Literal["auto"] = "auto"
    """Of the image tower. static: ranges of activations are measured beforehand on training data; dynamic: each batch
    has its own, measured as it runs, which convolutions pay for; none: stays as it is; auto: static of a network of
    convolutions, dynamic of a transformer, whose activations one range fits badly."""
    text: Mode = "dynamic"
    """The same of the text tower."""
    others: Literal["dynamic", "none"] = "dynamic"
    """The same of fusion and decoder, where the run has them."""
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    """How the range of an activation follows from what was seen of it."""
    batches: Annotated[int, Field(gt=0)] = 4
    """Training batches to calibrate on."""
    format: Literal["qdq", "qoperator"] = "qdq"
    """Of static quantization: pairs of nodes around each operator, which onnxruntime fuses as it loads, or operators of
    eight bits in the file."""
    per_channel: bool = True
    """A scale for each output channel of a weight; False: one for the whole matrix."""
    least_channels: Annotated[int, Field(ge=0)] = 8
    """Convolutions that read fewer channels stay in fp32, as the first one of most networks: eight bits cost there
    most and gain nothing."""
    exclude: list[str] = field(default_factory=list)
    """Names of nodes that stay in fp32 because they suffer, as the ONNX files have them."""


def require_onnxruntime() -> None:
    """Raises ConfigError: a package is missing."""
    missing = [name for name in PACKAGES if name_is_missing(name)]
    if missing:
        raise ConfigError(f'steps: quantize: needs {", ".join(missing)}; pip install -e ".[export]"')


def name_is_missing(package: str) -> bool:
    """Found, not imported."""
    try:
        return importlib.util.find_spec(package) is None
    except ValueError:  # a package that somebody took out of sys.modules
        return True


def quantize(step: Quantize, exported: Path, folder: Path, feeds: Mapping[str, Sequence[Feed]]) -> dict[str, Any]:
    """The folder of an ONNX export with int8 graphs.

    Args:
        exported: as `mmpretrain export --to onnx` writes it.
        folder: to fill.
        feeds: inputs of the graphs that are calibrated, by their names.

    Raises:
        ConfigError: a node that is to stay as it is is in none of the graphs, or there is nothing to calibrate on.
        MmpretrainError: onnxruntime cannot quantize a graph.
    """
    graphs = sorted(exported.glob("*.onnx"))
    refuse_unknown_nodes(step, graphs)
    facts = {}
    for graph in graphs:
        mode = mode_of(step, graph)
        if mode == "static" and not feeds.get(graph.stem):
            raise ConfigError(f"steps: quantize.{graph.stem}: static has no training data to calibrate on; use dynamic")
        try:
            with quiet():  # it tells of every node that it leaves as it is
                quantize_graph(step, mode, graph, folder / graph.name, feeds.get(graph.stem, ()))
        except Exception as error:  # of many kinds
            said = " ".join(str(error).split())[:200]
            raise MmpretrainError(f"steps: quantize: onnxruntime cannot quantize {graph.name}: {said}") from error
        facts[graph.stem] = {"mode": mode, "bytes": bytes_of(folder / graph.name), "fp32_bytes": bytes_of(graph)}
    for name in COPIED:
        shutil.copyfile(exported / name, folder / name)
    return facts


def mode_of(step: Quantize, graph: Path) -> Mode:
    """What is done with a graph."""
    import onnx

    mode = {"image": step.image, "text": step.text}.get(graph.stem, step.others)
    if mode != "auto":
        return mode
    kinds = [node.op_type for node in onnx.load(str(graph), load_external_data=False).graph.node]
    return "static" if kinds.count("Conv") > kinds.count("MatMul") else "dynamic"


def bytes_of(graph: Path) -> int:
    """With what stands beside it."""
    return sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))


def refuse_unknown_nodes(step: Quantize, graphs: Sequence[Path]) -> None:
    import onnx

    if not step.exclude:
        return
    known = [node.name for graph in graphs for node in onnx.load(graph, load_external_data=False).graph.node]
    for name in step.exclude:
        if name not in known:
            close = did_you_mean(name, known) if len(known) < 20 else ""
            raise ConfigError(f"steps: quantize.exclude: no graph has a node {name!r}{close}")


class Feeds:
    """Batches as onnxruntime's calibration asks for them."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._rest = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._rest, None)


def quantize_graph(step: Quantize, mode: Mode, graph: Path, out: Path, feeds: Sequence[Feed]) -> None:
    """One file; what prepares it (fused norms, constants folded) stands beside it for a moment."""
    if mode == "none":
        for file in graph.parent.glob(f"{graph.name}*"):
            shutil.copyfile(file, out.with_name(file.name))
        return
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_name(f"{out.stem}.prepared.onnx")
    # symbolic shapes want another package, and dynamic axes gain nothing by them
    quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
    fold(prepared)
    common: dict[str, Any] = {
        "per_channel": step.per_channel,
        "weight_type": QuantType.QInt8,
        "nodes_to_exclude": [*step.exclude, *narrow_convolutions(prepared, step.least_channels)],
        "op_types_to_quantize": list(STATIC if mode == "static" and graph.stem == "image" else MATRICES),
    }
    try:
        if mode == "dynamic":
            dynamic(prepared, out, common)
        else:
            static(step, prepared, out, Feeds(feeds), common)
    finally:
        for file in out.parent.glob(f"{prepared.name}*"):
            file.unlink()


def narrow_convolutions(graph: Path, least: int) -> list[str]:
    """Names of convolutions that read fewer channels."""
    import onnx

    found = onnx.load(str(graph)).graph
    shapes = {each.name: each.dims for each in found.initializer}
    convolutions = [node for node in found.node if node.op_type == "Conv" and node.input[1] in shapes]
    groups = {node.name: next((a.i for a in node.attribute if a.name == "group"), 1) for node in convolutions}
    return [node.name for node in convolutions if shapes[node.input[1]][1] * groups[node.name] < least]


def dynamic(prepared: Path, out: Path, common: dict[str, Any]) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(prepared), str(out), **common)


def static(step: Quantize, prepared: Path, out: Path, feeds: Feeds, common: dict[str, Any]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    quantize_static(
        str(prepared),
        str(out),
        feeds,
        quant_format=QuantFormat.QDQ if step.format == "qdq" else QuantFormat.QOperator,
        activation_type=QuantType.QUInt8,
        calibrate_method=methods[step.calibration],
        **common,
    )
