"""What a model takes: parameters, bytes, operations and time, of towers in torch and of graphs in onnxruntime."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mmpretrain.compression.latency import Latency, alternating
from mmpretrain.compression.magnitude import zeros_of
from mmpretrain.core.batch import Batch
from mmpretrain.recipes.opened import Opened

LEVEL = 6
"""Of gzip."""
Call = Callable[[], Any]


def size_facts(given: Opened) -> dict[str, Any]:
    """Parameters, bytes of the file of weights as it is and compressed, and zeros."""
    averaged = given.checkpoint / "ema.safetensors"
    file = averaged if averaged.exists() else given.checkpoint / "weights.safetensors"
    zeros, numbers = zeros_of(given.module.model.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in given.module.model.parameters()),
        "bytes": file.stat().st_size,
        "gzip_bytes": len(gzip.compress(file.read_bytes(), LEVEL)),
        "zeros": zeros / numbers if numbers else 0.0,
    }


def rows_of(batch: Batch, rows: int) -> Batch:
    """The first rows of a batch, repeated where it has fewer."""
    places = torch.arange(rows) % len(batch)
    changed: dict[str, Any] = {}
    for each in fields(batch):
        value = getattr(batch, each.name)
        if isinstance(value, Tensor):
            changed[each.name] = value[places]
        elif len(value or ()) == len(batch):
            changed[each.name] = [value[place] for place in places]
    return replace(batch, **changed)


def run_call(given: Opened, batch: Batch, rows: int) -> Call:
    """What the towers, fusion and decoder of a run say of so many rows, in fp32."""
    module, batch = given.module, rows_of(batch, rows)

    @torch.inference_mode()
    def call() -> Any:
        return module.model(batch, module.needs - {"teacher", "views"})

    return call


def operations(given: Opened, batch: Batch) -> int:
    """Floating-point operations of one pair, as torch counts them."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        given.module.model(rows_of(batch, 1), given.module.needs - {"teacher", "views"})
    return int(counter.get_total_flops())


def sessions(folder: Path, threads: int) -> dict[str, Any]:
    """The graphs of a folder, all with the same options."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return {
        file.stem: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for file in sorted(folder.glob("*.onnx"))
    }


def feeds_of(batch: Batch) -> dict[str, dict[str, np.ndarray]]:
    """A batch as the graphs of both towers take it."""
    return {
        "image": {"images": batch.images_BCHW.numpy()},
        "text": {"tokens": batch.tokens_BL.numpy(), "mask": batch.mask_BL.numpy()},
    }


def graph_call(found: Mapping[str, Any], batch: Batch, rows: int, only: str = "") -> Call:
    """What both towers, or one of them, say of so many rows."""
    feeds = {n: feed for n, feed in feeds_of(rows_of(batch, rows)).items() if n in found and only in ("", n)}

    def call() -> None:
        for name, feed in feeds.items():
            found[name].run(None, feed)

    return call


def times(calls: Mapping[str, Callable[[int], Call]], rows: int, rounds: int) -> dict[str, Any]:
    """Of each thing, in turns: latency of one pair, and pairs a second in batches of `rows`.

    Args:
        calls: something to do with a number of rows, by name.
    """
    one: dict[str, Latency] = alternating({name: call(1) for name, call in calls.items()}, rounds)
    many = alternating({name: call(rows) for name, call in calls.items()}, rounds)
    return {
        name: {
            "p50_ms": one[name].p50,
            "p95_ms": one[name].p95,
            "calls": one[name].calls,
            "batch_p50_ms": many[name].p50,
            "pairs_per_second": 1000 * rows / many[name].p50,
        }
        for name in calls
    }
