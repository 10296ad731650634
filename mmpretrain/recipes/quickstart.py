"""The main job on the embedded data: pretrain, evaluate, report."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.result_table import show
from mmpretrain.recipes.settings import find_config
from mmpretrain.report.page import write_report

CONFIG = Path("quickstart")


def quickstart(overrides: Sequence[str], resume: str, console: Console) -> Run:
    """Everything from the shards to runs/quickstart/report.html."""
    began = time.perf_counter()
    place = pretrain(find_config("pretrain", CONFIG), overrides, resume, console)
    newest = {(record["task"], record["split"]): record for record in read_json_lines(place.results)}
    for record in newest.values():
        show(record, console)
    page = write_report(place)
    console.print(
        f"done in {time.perf_counter() - began:.0f} s; open {page}\n"
        f"next: mmpretrain evaluate {place.folder} --data emoji:test, or your own pictures: "
        "mmpretrain pretrain quickstart data.name=PATH run.folder=runs/mine",
        soft_wrap=True,
    )
    return place
