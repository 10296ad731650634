"""Captions without a captioner: always the most frequent one, or that of the most similar picture that was learned."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from mmpretrain.evaluation.features import Embedder, Vectors
from mmpretrain.evaluation.nearest import nearest
from mmpretrain.evaluation.shown import spread


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What they say of the pictures."""

    most_frequent: str
    nearest: list[str] | None
    """None where the training data cannot be read again."""
    seen_by: str
    """What the nearest picture was found by: the run's features, or what its image tower pools."""


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
    vectors: Vectors = "features" if model.has_features else "image"
    seen_MD = torch.cat([model.seen(name, vectors, places).vector_ND for name, places in chosen.items()])
    asked_ND = model.seen(split, vectors, rows).vector_ND
    return Baselines(
        most_frequent=most_frequent(each.caption for each in learned),
        nearest=[captions[place] for place in nearest(F.normalize(asked_ND), F.normalize(seen_MD))],
        seen_by=vectors,
    )


def most_frequent(captions: Iterable[str]) -> str:
    """Of equally frequent ones the first in the alphabet."""
    counts = Counter(captions)
    return min(counts, key=lambda caption: (-counts[caption], caption))
