"""How well picture and caption of each sample fit, in the eyes of a run."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.core.settings import build, read_yaml
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.mixture import Place
from mmpretrain.data.samples import Reading, ShardReader
from mmpretrain.data.stages import Read, collated
from mmpretrain.data.transforms import evaluation_transform
from mmpretrain.recipes.assemble import EVALUATION_ROWS
from mmpretrain.recipes.evaluate import load_single
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.train import checkpoint


def clip_scores(pool: Dataset, console: Console, run: str) -> np.ndarray:
    """Cosine of picture and caption for each sample in the order of the shards; float32, NaN where it is damaged.

    Raises:
        ConfigError: no run, or none with a checkpoint.
    """
    place = Run.open(Path(run))
    config = build(Pretrain, read_yaml(place.config), str(place.config))
    newest, complaints = checkpoint.find_newest(place.checkpoints)
    if newest is None:
        raise ConfigError(f"{run}: no checkpoint to judge with{': ' + complaints[0] if complaints else ''}")
    parts, engine = load_single(config, checkpoint.load(newest))
    transform = evaluation_transform(config.towers.size)
    batches = collated(usable(pool), EVALUATION_ROWS, transform, parts.tokenizer)
    scores_N = np.full(len(pool), np.nan, dtype=np.float32)
    rounds = -(-len(pool) // EVALUATION_ROWS)
    with engine.evaluating(), torch.no_grad():
        for batch in track(batches, "scoring", rounds, console=console, disable=not console.is_terminal):
            features = engine.forward("embed", batch.to(parts.device))
            cosine_B = (features.image_BE * features.text_BE).sum(dim=1)
            scores_N[batch.positions_B.numpy()] = cosine_B.float().cpu().numpy()
    return scores_N


def usable(pool: Dataset) -> Iterator[Read]:
    """Every sample that can be used, its place in the pool as position."""
    read = partial(pool.sample, ShardReader(), reading=Reading())
    places = (Place(0, shard, row) for shard, index in enumerate(pool.shards) for row in range(len(index)))
    for position, place in enumerate(places):
        try:
            yield place, read(shard=place.shard, sample=place.sample, position=position), []
        except BadSample:
            continue
