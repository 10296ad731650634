"""Benchmarks as tables."""

import json
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.bench import data as data_bench
from mmpretrain.bench import loss as loss_bench
from mmpretrain.core.run import processor


def bench_data(rounds: int, as_json: bool, console: Console) -> None:
    """The loader against what people use today."""
    rows = data_bench.run(rounds)
    if as_json:
        console.print_json(json.dumps([asdict(row) for row in rows]))
        return
    shown = Table("pictures", "loader", "samples/s", "ours is", "pixels differ", box=box.SIMPLE_HEAD)
    for row in rows:
        mine = row.contender == "this loader"
        ratio = "" if mine else f"{row.ratio:.2f}x [{row.low:.2f} {row.high:.2f}]"
        shown.add_row(row.size, row.contender, f"{row.samples_per_s:.0f}", ratio, f"{row.difference:.2f}/255")
    console.print(shown)
    console.print(
        f"one core of {processor()}, batches of {data_bench.BATCH} crops of {data_bench.SIZE} px from JPEG in tars; "
        f"median \\[least most] of {rounds} rounds in turn",
        soft_wrap=True,
    )


def bench_loss(rows: int, width: int, rounds: int, tiled_only: bool, as_json: bool, console: Console) -> None:
    """The losses tile by tile against open_clip's dense ones."""
    found = loss_bench.run(rows, width, rounds, tiled_only)
    if as_json:
        console.print_json(json.dumps([asdict(row) for row in found]))
        return
    shown = Table("loss", "scale", "form", "seconds", "tiled / dense", "MB", "differs", box=box.SIMPLE_HEAD)
    for row in found:
        tiled = row.form == "tiled"
        ratio = "" if tiled else f"{row.ratio:.2f} [{row.low:.2f} {row.high:.2f}]"
        difference = "" if tiled else f"{row.difference:.0e}"
        shown.add_row(
            row.loss, f"{row.scale:g}", row.form, f"{row.seconds:.2f}", ratio, f"{row.megabytes:,.0f}", difference
        )
    console.print(shown)
    console.print(
        f"{rows:,} rows of {width} in fp32, forward and backward on {loss_bench.threads()} threads of {processor()}; "
        f"median \\[least most] of {rounds} rounds in turn; MB of memory beyond the features, in fresh processes",
        soft_wrap=True,
    )
