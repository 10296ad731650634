"""A run's model by itself, for those who bring other pictures: its best or newest checkpoint in this process."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mmpretrain.core.distributed import World
from mmpretrain.core.precision import WeightPrecision, round_weights
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.data.training import TrainingData
from mmpretrain.engines.base import Engine
from mmpretrain.engines.build import device_of
from mmpretrain.engines.single import Single
from mmpretrain.recipes.assemble import build_module, engine_around, seen_words
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.evaluate import without_maps
from mmpretrain.recipes.labels import kept_labels
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.recipes.starts.start import kept_start
from mmpretrain.train import checkpoint


@dataclass(frozen=True, kw_only=True)
class Alone:
    """A trained model, averaged weights where the run kept them."""

    config: Pretrain
    tokenizer: Tokenizer
    engine: Engine
    step: int
    checkpoint: Path
    """The folder that it was read from."""


def load_alone(folder: Path, config: Pretrain, precision: WeightPrecision = "fp32") -> Alone:
    """The training data is asked only by a run that predicts no other words than it holds.

    Args:
        precision: of the weights and of what stands between them. bf16 is faster where the processor has it; what is
            said of a picture then depends a little on the others beside it.

    Raises:
        ConfigError: there is no checkpoint.
    """
    chosen = chosen_checkpoint(folder)
    found = checkpoint.load(chosen)
    # what is averaged takes the place of the weights once, not at every question
    config = replace(
        config,
        engine=Single(precision="fp32"),
        towers=config.towers.without_files(),
        optim=replace(config.optim, ema=None),
    )
    tokenizer = load_tokenizer(chosen / "tokenizer.json", config.data.tokenizer.context_length)
    module = build_module(config, tokenizer, seen_of(config, tokenizer), kept_labels(chosen))
    config.adaptation.apply(module, kept_start(chosen).started)
    engine = engine_around(module, config, device_of(World()))
    engine.load(without_maps(config, found.average or found.weights), None, {})
    if precision == "bf16":
        round_weights(engine.module, torch.bfloat16)
    return Alone(config=config, tokenizer=tokenizer, engine=engine, step=found.step, checkpoint=chosen)


def seen_of(config: Pretrain, tokenizer: Tokenizer) -> Tensor | None:
    """Ids that the training texts hold, where the run predicts no others; else the data is not asked."""
    asks_data = any(getattr(each, "words", "all") == "seen" for each in config.objectives)
    return seen_words(config.objectives, TrainingData(config.data), tokenizer) if asks_data else None
