"""The order of a dataset as the real loader delivers it: keys, or one digest of them."""

import hashlib
from collections.abc import Iterator

from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.loader import Data, TrainingData, training_loader
from mmpretrain.data.tokenizer import ClipTokenizer

PIXELS = 32
"""Size that pictures are brought to: the order does not depend on it."""


def keys_of_epoch(data: Data, epoch: int, ranks: int, from_step: int | None) -> Iterator[tuple[int, str]]:
    """(position, key) of every sample of an epoch, from loaders like those of `ranks` training processes.

    Args:
        from_step: stop all loaders before this step of the run and go on with new ones, as a resumed run does.
    """
    training = TrainingData(data)
    first, end = epoch * len(training), (epoch + 1) * len(training)
    steps = range(first // data.batch, -(-end // data.batch))
    cut = steps.stop if from_step is None else min(max(from_step, steps.start), steps.stop)
    for part in (range(steps.start, cut), range(cut, steps.stop)):
        yield from (
            (position, key) for position, key in _keys_of_steps(training, part, ranks) if first <= position < end
        )


def _keys_of_steps(training: TrainingData, steps: range, ranks: int) -> Iterator[tuple[int, str]]:
    if not steps:
        return
    tokenizer = ClipTokenizer(context_length=8).build(())
    worlds = [World(rank, ranks) for rank in range(ranks)]
    loaders = [training_loader(training, tokenizer, PIXELS, world, 1, steps.start) for world in worlds]
    for _ in steps:
        for loader in loaders:
            for batch in next(loader):
                yield from zip(batch.positions_B.tolist(), batch.keys, strict=True)


def digest_of_epoch(data: Data, epoch: int, ranks: int, from_step: int | None) -> tuple[str, int]:
    """SHA-256 over the keys of an epoch, a line each, and how many there are.

    Raises:
        ConfigError: a mixture, which has no epochs.
    """
    if data.sources:
        raise ConfigError("data order: a mixture of several datasets has no epochs")
    digest, count = hashlib.sha256(), 0
    for _, key in keys_of_epoch(data, epoch, ranks, from_step):
        digest.update(f"{key}\n".encode(errors="surrogateescape"))
        count += 1
    return digest.hexdigest(), count
