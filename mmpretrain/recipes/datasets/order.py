"""The order of a dataset or a run as the real loader delivers it: keys, or one digest of them."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.card import parse_name
from mmpretrain.data.loader import training_loader
from mmpretrain.data.storage import Storage
from mmpretrain.data.tokenizer import ClipTokenizer
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.recipes.settings import find_config, load_pretrain

PIXELS = 32
"""Size that pictures are brought to: the order does not depend on it."""


def find_data(
    given: str, batch: int | None, seed: int | None, ranks: int, workers: int, storage: Storage | None = None
) -> Data:
    """The data settings of a config or run, or those of NAME[:SPLIT] by itself.

    Args:
        batch: for a NAME; None is four pairs a rank.
        storage: for a NAME; None is the defaults.

    Raises:
        ConfigError: an option that the config decides, or a streaming order, which is none.
    """
    try:
        file = find_config("pretrain", Path(given))
    except ConfigError:
        if given.endswith((".yaml", ".yml")):
            raise
        name, split = parse_name(given)
        return Data(
            name=name,
            split=split or "train",
            batch=batch or 4 * ranks,
            seed=seed or 0,
            workers=workers,
            storage=storage or Storage(),
        )
    if batch is not None or seed is not None or storage is not None:
        raise ConfigError(f"--batch, --seed, --storage: {file} decides them; leave them out")
    data = load_pretrain(file).data
    if data.order == "streaming":
        raise ConfigError(f"{file}: data.order is streaming, which keeps no order")
    return replace(data, workers=workers)


def find_positions(training: TrainingData, epoch: int | None, steps: str | None) -> range:
    """The positions of an epoch, or of steps `FIRST:END`.

    Raises:
        ConfigError: an epoch of a mixture, or steps that are no range.
    """
    batch = training.settings.batch
    if steps is not None:
        first, _, end = steps.partition(":")
        if epoch is not None or not (first.isdigit() and end.isdigit() and int(first) < int(end)):
            raise ConfigError(f"--steps: {steps!r}; write FIRST:END such as 0:100, and leave --epoch out")
        return range(int(first) * batch, int(end) * batch)
    if training.settings.sources:
        raise ConfigError("data order: a mixture of several datasets has no epochs; use --steps FIRST:END")
    return range((epoch or 0) * len(training), ((epoch or 0) + 1) * len(training))


def keys(training: TrainingData, positions: range, ranks: int, from_step: int | None) -> Iterator[tuple[int, str]]:
    """(position, key) of each sample, from loaders like those of `ranks` training processes.

    Args:
        from_step: stop all loaders before this step of the run and go on with new ones, as a resumed run does.
    """
    batch = training.settings.batch
    steps = range(positions.start // batch, -(-positions.stop // batch))
    cut = steps.stop if from_step is None else min(max(from_step, steps.start), steps.stop)
    for part in (range(steps.start, cut), range(cut, steps.stop)):
        yield from ((place, key) for place, key in _keys_of_steps(training, part, ranks) if place in positions)


def _keys_of_steps(training: TrainingData, steps: range, ranks: int) -> Iterator[tuple[int, str]]:
    if not steps:
        return
    tokenizer = ClipTokenizer(context_length=8).build(())
    worlds = [World(rank, ranks) for rank in range(ranks)]
    # texts alone are read as texts alone; beside pictures they have blank ones
    pixels = PIXELS if len(training.without_pictures) < len(training.datasets) else 0
    loaders = [training_loader(training, tokenizer, pixels, world, 1, steps.start) for world in worlds]
    for _ in steps:
        for loader in loaders:
            for batch in next(loader):
                yield from zip(batch.positions_B.tolist(), batch.keys, strict=True)


def digest(found: Iterable[tuple[int, str]]) -> tuple[str, int]:
    """SHA-256 over keys, a line each, and how many there are."""
    hashed, count = hashlib.sha256(), 0
    for _, key in found:
        hashed.update(f"{key}\n".encode(errors="surrogateescape"))
        count += 1
    return hashed.hexdigest(), count
