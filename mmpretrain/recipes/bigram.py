"""A run's language model against a bigram model of the same texts and the same words."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.settings import build, read_yaml
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.evaluation.bigram import Bigram
from mmpretrain.recipes.settings import Pretrain
from mmpretrain.train import checkpoint

METRIC = "causal_language_loss"


def bigram(folder: Path, split: str, as_json: bool, console: Console) -> None:
    """Perplexity on a split of a bigram model of the run's training texts, beside the run's own.

    Raises:
        ConfigError: the run has no checkpoint, or was not evaluated on the split by held_out.
    """
    place = Run.open(folder)
    config = build(Pretrain, read_yaml(place.config), str(place.config))
    own = [
        result for result in read_json_lines(place.results) if result["split"] == split and METRIC in result["metrics"]
    ]
    newest, _ = checkpoint.find_newest(place.checkpoints)
    if newest is None or not own:
        raise ConfigError(f"{folder}: needs a checkpoint and a held_out evaluation of {split!r} with causal_language")
    tokenizer = load_tokenizer(newest / "tokenizer.json", config.data.tokenizer.context_length)
    (part,) = config.data.parts
    model = Bigram(ids(Dataset(part.name, part.split), tokenizer), tokenizer.vocabulary)
    losses_N = model.losses(ids(Dataset(part.name, split), tokenizer))
    loss = own[-1]["metrics"][METRIC]["value"]
    facts = {
        "split": split,
        "words": len(losses_N),
        "bigram_perplexity": float(np.exp(losses_N.mean())),
        "run_perplexity": float(np.exp(loss)),
        "step": own[-1]["step"],
    }
    if as_json:
        console.print_json(json.dumps(facts))
        return
    console.print(
        f"{folder} on {part.name}:{split}, {facts['words']:,} words: perplexity {facts['run_perplexity']:.1f} at step "
        f"{facts['step']}, a bigram model of the same training texts {facts['bigram_perplexity']:.1f}",
        soft_wrap=True,
    )


def ids(dataset: Dataset, tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Token ids of every text of a split, cut as the run cuts them."""
    for caption in dataset.captions():
        tokens_BL, mask_BL = tokenizer([caption])
        yield tokens_BL[0, mask_BL[0]].tolist()
