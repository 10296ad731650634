"""How well picture and caption of each sample fit, in the eyes of a run."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from mmpretrain.core.phases import progress
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Reading, ShardReader
from mmpretrain.data.stages import Read, collated
from mmpretrain.data.transforms import Centre
from mmpretrain.recipes.assemble import evaluation_rows
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.evaluate import load_single
from mmpretrain.recipes.settings import read_run
from mmpretrain.train import checkpoint


def clip_scores(pool: Dataset, console: Console, run: str) -> np.ndarray:
    """Cosine of picture and caption for each sample in the order of the shards; float32, NaN where it is damaged.

    Raises:
        ConfigError: no run, or none with a checkpoint.
    """
    image_NE, text_NE = embed_pool(pool, console, run, "scoring")
    scores: np.ndarray = (image_NE * text_NE).sum(dim=1).numpy()
    return scores


def embed_pool(pool: Dataset, console: Console, run: str, doing: str) -> tuple[Tensor, Tensor]:
    """What a run says of each sample's picture and caption, in the order of the shards; fp32, NaN where it is damaged.

    Args:
        doing: what the bar says.

    Raises:
        ConfigError: no run, or none with a checkpoint.
    """
    config = read_run(Path(run))
    parts, engine = load_single(config, checkpoint.load(chosen_checkpoint(Path(run))))
    rows = evaluation_rows(config.towers.size)
    batches = collated(usable(pool), rows, Centre(config.towers.size), parts.tokenizer)
    image_NE, text_NE = (torch.full((len(pool), config.towers.embedding), math.nan) for _ in range(2))
    rounds = -(-len(pool) // rows)
    with engine.evaluating(), torch.no_grad():
        for batch in track(batches, doing, rounds, console=console, disable=not console.is_terminal):
            features = engine.forward("embed", batch.to(parts.device))
            image_NE[batch.positions_B] = features.image_BE.float().cpu()
            text_NE[batch.positions_B] = features.text_BE.float().cpu()
    return image_NE, text_NE


def usable(pool: Dataset, reading: Reading | None = None) -> Iterator[Read]:
    """Every sample that can be used, its place in the pool as position.

    Args:
        reading: how they are decoded; None: with the defaults.
    """
    read = partial(pool.sample, ShardReader(), reading=reading or Reading())
    places = (Place(0, shard, row) for shard, index in enumerate(pool.shards) for row in range(len(index)))
    for position, place in enumerate(places):
        progress.tick()  # where the main rank passes over all samples, the others see that it goes on
        try:
            yield place, read(shard=place.shard, sample=place.sample, position=position), []
        except BadSample:
            continue
