"""Runs on every rank, each on a GPU of its own: DDP and ZeRO over NCCL."""

import json
import os
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "engines"))
from engine_trial import DISTRIBUTED, ENGINES, STEPS, build_engine, build_module, run

from mmpretrain.core.distributed import process_group, world


def main(folder: Path) -> None:
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)
    with process_group("nccl", 120):
        report = {
            kind: run(build_engine(ENGINES[kind], build_module(), device=device), range(STEPS), micros=2)
            for kind in DISTRIBUTED
        }
        if world().is_main:
            (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
