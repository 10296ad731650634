"""Splits that are read as a whole: samples that cannot be used are found at once, named, counted and left out."""

from collections import Counter
from collections.abc import Mapping

from mmpretrain.core.distributed import gather_objects, on_all, world
from mmpretrain.core.errors import DataError
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.samples import Reading, ShardReader
from mmpretrain.data.told import told_at
from mmpretrain.recipes.settings import Pretrain

NAMED = 3
"""Samples that a remark names; results.jsonl names all."""
Place = tuple[int, int]


def reading_of(config: Pretrain) -> Reading:
    """How a run decodes samples, but for what random draws and crops ask for."""
    return Reading(limits=config.data.limits, captions=config.data.captions, pictures=config.towers.size > 0)


def usable(dataset: Dataset, reading: Reading, most: float) -> Dataset:
    """The split without its bad samples; every rank calls, and looks at a share of them.

    Args:
        most: the share of the split that may be left out.

    Raises:
        DataError: more is bad; names some of it.
    """
    mine = dataset.places()[world().rank :: world().size]
    found = on_all(lambda: bad_samples(dataset, mine, reading))
    bad = dict(sorted(item for part in gather_objects(found) for item in part.items()))
    if len(bad) > most * len(dataset):
        error = DataError(
            f"{dataset.folder.name}:{dataset.split}: {named(bad)} of {len(dataset):,} samples cannot be used, more "
            f"than data.breaker.share = {most:g} allows; restore the shards, or re-pack them without these"
        )
        error.on_every_rank = True
        raise error
    return dataset.without(bad)


def bad_samples(dataset: Dataset, places: list[Place], reading: Reading) -> dict[Place, str]:
    """What is wrong with those that cannot be used."""
    reader, found = ShardReader(), {}
    for shard, row in places:
        try:
            dataset.sample(reader, shard, row, 0, reading)
            told_at(dataset, reader, shard, row, reading)
        except BadSample as bad:
            key = dataset.shards[shard].keys[row]
            found[shard, row] = f"{dataset.names[shard]}: {key}: {bad.reason}: {bad.detail}"
    return found


def named(bad: Mapping[Place, str]) -> str:
    """`2 (damaged_image 2; a.tar: 17: damaged_image: ...)`."""
    reasons = Counter(told.split(": ")[2] for told in bad.values())
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    shown = "; ".join(list(bad.values())[:NAMED])
    return f"{len(bad):,} ({counted}; {shown})"


def remarks(dataset: Dataset, what: str) -> list[str]:
    """What a reader of figures has to know.

    Args:
        what: the samples are for.
    """
    bad = dataset.left_out
    if not bad:
        return []
    whole = len(dataset) + len(bad)
    return [f"{named(bad)} of {whole:,} samples {what} cannot be used and were left out."]
