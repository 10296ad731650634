"""ONNX graphs that say the same in fewer operators: what stands in front of a convolution goes into its weights.

A division by a number a channel, and the mean over windows that do not overlap, are linear and per channel: the
convolution behind them can do their work. Eight-bit kernels gain by it, because neither of the two has a fast one;
those of fp32 do not, and their graphs stay as they are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

INPUT_CHANNELS = 1
"""Axis of a convolution's weight."""


def fold(file: Path) -> int:
    """Rewrite a graph in place; how many operators went into a convolution."""
    import onnx

    model = onnx.load(str(file))
    count = sum(1 for _ in folded(model.graph))
    if count:
        forget_unused(model.graph)
        onnx.save(model, str(file))
    return count


def forget_unused(graph: Any) -> None:
    """Weights that nothing reads any more, and shapes that were noted of weights, which are others now."""
    used = {name for node in graph.node for name in node.input}
    weights = [each for each in graph.initializer if each.name in used]
    names = {each.name for each in graph.initializer}
    shapes = [each for each in graph.value_info if each.name not in names]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(weights)
    graph.value_info.extend(shapes)


def folded(graph: Any) -> Iterator[str]:
    """Names of the nodes that were folded away."""
    weights = {each.name: each for each in graph.initializer}
    for node in list(graph.node):
        convolution = only_reader(graph, node)
        if convolution is None or convolution.op_type != "Conv" or convolution.input[1] not in weights:
            continue
        weight = array(weights[convolution.input[1]])
        if attributes(convolution).get("group", 1) != 1 or users(graph, convolution.input[1]) != 1:
            continue
        if node.op_type == "Div" and node.input[1] in weights:
            divisor = array(weights[node.input[1]])
            if divisor.shape[-3:] == (weight.shape[INPUT_CHANNELS], 1, 1) and divisor.size == divisor.shape[-3]:
                put(weights[convolution.input[1]], weight / divisor.reshape(1, -1, 1, 1))
                drop(graph, node, convolution)
                yield node.name
        elif node.op_type == "AveragePool" and is_pointwise(convolution) and does_not_overlap(graph, node):
            height, width = attributes(node)["kernel_shape"]
            put(weights[convolution.input[1]], np.tile(weight / (height * width), (1, 1, height, width)))
            set_ints(convolution, kernel_shape=(height, width), strides=(height, width))
            drop(graph, node, convolution)
            yield node.name


def only_reader(graph: Any, node: Any) -> Any | None:
    """The node that reads what a node says, where it is the only one and reads it first."""
    found = [each for each in graph.node if node.output[0] in each.input]
    outputs = {each.name for each in graph.output}
    is_only = len(found) == 1 and found[0].input[0] == node.output[0] and node.output[0] not in outputs
    return found[0] if is_only else None


def users(graph: Any, name: str) -> int:
    return sum(list(each.input).count(name) for each in graph.node)


def attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def is_pointwise(convolution: Any) -> bool:
    given = attributes(convolution)
    return (
        list(given.get("kernel_shape", ())) == [1, 1]
        and list(given.get("strides", [1, 1])) == [1, 1]
        and not any(given.get("pads", ()))
        and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )


def does_not_overlap(graph: Any, pool: Any) -> bool:
    """Windows stand side by side without padding, and none of them is cut at an edge."""
    given = attributes(pool)
    kernel = list(given["kernel_shape"])
    if len(kernel) != 2 or list(given.get("strides", ())) != kernel or any(given.get("pads", ())):
        return False
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return False
    sides = sides_of(graph, pool.input[0])
    return not given.get("ceil_mode", 0) or (
        sides is not None and all(side % each == 0 for side, each in zip(sides, kernel, strict=True))
    )


def sides_of(graph: Any, name: str) -> list[int] | None:
    """Height and width of a value, where the graph says them."""
    for each in [*graph.value_info, *graph.input]:
        if each.name == name:
            sides = [axis.dim_value for axis in each.type.tensor_type.shape.dim[2:]]
            return sides if len(sides) == 2 and all(sides) else None
    return None


def array(initializer: Any) -> np.ndarray:
    from onnx import numpy_helper

    found: np.ndarray = numpy_helper.to_array(initializer)
    return found


def put(initializer: Any, value: np.ndarray) -> None:
    from onnx import numpy_helper

    initializer.CopyFrom(numpy_helper.from_array(value.astype(np.float32), initializer.name))


def set_ints(node: Any, **values: tuple[int, int]) -> None:
    import onnx

    kept = [each for each in node.attribute if each.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(onnx.helper.make_attribute(name, value) for name, value in values.items())])


def drop(graph: Any, node: Any, reader: Any) -> None:
    """Let the reader read what the node read."""
    reader.input[0] = node.input[0]
    graph.node.remove(node)
