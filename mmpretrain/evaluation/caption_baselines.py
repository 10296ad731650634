"""Captions without a captioner: always the most frequent one, or that of the most similar picture that was learned."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.nearest import nearest
from mmpretrain.evaluation.shown import spread


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What they say of the pictures."""

    most_frequent: str
    nearest: list[str] | None
    """None where the training data cannot be read again."""
    seen_by: str
    """What the nearest picture was found by."""


def baselines(model: Embedder, split: str, rows: Sequence[int], limit: int) -> Baselines:
    """Of the pictures at some places of a split.

    Args:
        limit: training samples, evenly spread, among which the nearest picture is looked for.
    """
    learned = [each for name in model.training for each in model.told(name)]
    if not learned:
        own = most_frequent(caption for each in model.told(split) for caption in each.captions)
        return Baselines(most_frequent=own, nearest=None, seen_by="")
    chosen = {name: spread(list(range(len(model.told(name)))), limit) for name in model.training}
    captions = [model.told(name)[place].caption for name, places in chosen.items() for place in places]
    if model.has_features:
        seen_MD = torch.cat([model.seen(name, "features", places).vector_ND for name, places in chosen.items()])
        asked_ND = model.seen(split, "features", rows).vector_ND
    else:
        seen_MD = torch.cat([model.thumbnails(name, places) for name, places in chosen.items()])
        asked_ND = model.thumbnails(split, rows)
    return Baselines(
        most_frequent=most_frequent(each.caption for each in learned),
        nearest=[captions[place] for place in nearest(asked_ND, seen_MD)],
        seen_by="features" if model.has_features else "thumbnails",
    )


def most_frequent(captions: Iterable[str]) -> str:
    """Of equally frequent ones the first in the alphabet."""
    counts = Counter(captions)
    return min(counts, key=lambda caption: (-counts[caption], caption))
