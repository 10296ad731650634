"""A run's model by itself, with the weights that it is used by."""

from dataclasses import dataclass, replace
from pathlib import Path

from mmpretrain.core.weights import require_same_names
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.engines.base import module_shapes
from mmpretrain.heads.adaptation import LowRankAdaptation
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.recipes.alone import seen_of
from mmpretrain.recipes.assemble import build_module
from mmpretrain.recipes.chosen import chosen_checkpoint
from mmpretrain.recipes.evaluate import without_maps
from mmpretrain.recipes.labels import kept_labels
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.towers.low_rank import merged
from mmpretrain.train import checkpoint


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run and its model, in evaluation mode."""

    folder: Path
    config: Pretrain
    """Without files to start from."""
    checkpoint: Path
    step: int
    tokenizer: Tokenizer
    module: TrainingModule


def open_best(folder: Path) -> Opened:
    """The best checkpoint of a run where it keeps one, else its newest.

    Raises:
        ConfigError: it is no run with a checkpoint.
    """
    config = read_run(folder)
    chosen = chosen_checkpoint(folder)
    found = checkpoint.load(chosen)
    config = replace(config, towers=config.towers.without_files())
    tokenizer = load_tokenizer(chosen / "tokenizer.json", config.data.tokenizer.context_length)
    module = build_module(config, tokenizer, seen_of(config, tokenizer), kept_labels(chosen))
    fill(module, config, found)
    return Opened(
        folder=folder, config=config, checkpoint=chosen, step=found.step, tokenizer=tokenizer, module=module.eval()
    )


def fill(module: TrainingModule, config: Pretrain, found: checkpoint.Checkpoint) -> None:
    """Averaged weights where the run kept them, low-rank changes added."""
    tensors = without_maps(config, found.average or found.weights)
    if isinstance(config.adaptation, LowRankAdaptation):
        tensors = merged(tensors, config.adaptation.scale)
    require_same_names(tensors, module_shapes(module), str(found.folder))
    # not strict: a shared tensor has several names, of which the check above wants one
    module.load_state_dict(tensors, strict=False)
