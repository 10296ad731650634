"""Runs on every rank: takes all engines through all cases once, because importing DeepSpeed takes seconds."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from engine_cases import disturbed, in_bf16, interrupted, resumed, uninterrupted, varied
from engine_trial import DISTRIBUTED, VARIANTS

from mmpretrain.core.distributed import process_group, world


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group("gloo", 60):
        report: dict[str, Any] = {
            "uninterrupted": {kind: uninterrupted(kind, micros=1) for kind in DISTRIBUTED},
            "interrupted": {kind: interrupted(kind, folder / kind, micros=3) for kind in DISTRIBUTED},
            "disturbed": {kind: disturbed(kind, folder / kind) for kind in DISTRIBUTED},
            "resumed": {kind: resumed(kind, folder) for kind in DISTRIBUTED},
            "varied": {name: varied(name, folder) for name in VARIANTS},
            "bf16": {kind: in_bf16(kind) for kind in ("ddp", "zero2", "zero3")},
        }
        if world().is_main:
            (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
