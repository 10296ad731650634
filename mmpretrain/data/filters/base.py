"""What a rule sees, and what it may ask for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mmpretrain.data.card import Card
from mmpretrain.data.uids import Uid


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One sample of the pool; its picture is not decoded."""

    number: int
    """Place in the pool, in the order of its shards."""
    uid: Uid
    caption: str
    width: int
    """Pixels; 0 in a set of texts without pictures, as the height."""
    height: int


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What rules may ask for when they are built."""

    card: Card
    shards: Mapping[str, str] = field(default_factory=dict)
    """Name of each shard of the card, of all splits -> its file name."""
    scores: Callable[[str], np.ndarray]
    """Run folder -> cosine between picture and caption of each sample; float32, NaN where it cannot be used."""


class Rule(Protocol):
    """Says why a sample is dropped, None where it is kept."""

    def __call__(self, candidate: Candidate) -> str | None: ...
