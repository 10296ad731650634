"""One of several ranks that evaluate a run together; the main one writes what came out."""

import json
import sys
from pathlib import Path

import torch

from mmpretrain.core.distributed import World
from mmpretrain.core.run import Run
from mmpretrain.core.settings import build
from mmpretrain.evaluation.build import tasks
from mmpretrain.recipes import assemble
from mmpretrain.recipes.assemble import joined_world
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.evaluate import load, suited
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.settings import read_run
from mmpretrain.train import checkpoint


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    assemble.EVALUATION_ROWS = 4  # so that a toy split has many windows, the last of them not full
    wanted = json.loads((folder / "wanted.json").read_text())
    place = Run.open(Path(wanted["run"]))
    config = suited(read_run(place.folder), World.from_environment().size)
    with joined_world(config) as world:
        parts, engine = load(config, checkpoint.load(chosen_checkpoint(place.folder)), world)
        chosen = [build(tasks()[each["kind"]], each) for each in wanted["evaluators"]]
        records = Evaluation(parts, place, chosen).run(engine, 0, None, with_examples=True)
        if world.is_main:
            (folder / f"found_{world.size}.json").write_text(json.dumps(records))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
