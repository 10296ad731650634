"""Which samples are copies of each other: equal bytes, equal pixels, pictures that look the same, equal captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.fingerprints import Fingerprints
from mmpretrain.data.neighbours import near_pairs

try:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
except ImportError as error:
    raise ConfigError('groups of duplicates need scipy; pip install -e ".[eval]"') from error

EQUAL = {"bytes": "bytes_N", "pixels": "pixels_N", "caption": "caption_N", "text_group": "text_group_N"}
"""Ways to be equal, and the column that says so."""


@settings
class Near:
    """When two pictures count as near-duplicates."""

    distance: Annotated[int, Field(ge=0, le=16)] = 4
    """Bits of 64 in which their phash, and as well their dhash, may differ: resized and re-compressed copies mostly
    stay within 4; beyond 8, different pictures of one style are found as well."""
    colour: Annotated[float, Field(ge=0)] = 8.0
    """Mean difference, of 255, that a 4 x 4 grid of their colours may have."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What is equal and what is near among N samples."""

    pairs: np.ndarray
    """Near-duplicates that are not pixel-equal, by the first of each set of equal ones; int64, P x 2."""
    first_N: np.ndarray
    """For each sample the first one with the same pixels; int64."""

    def components(self) -> np.ndarray:
        """A number for each sample, equal for all that chains of equal and near pictures link; int64, N."""
        return components(len(self.first_N), [self.pairs, pairs_of_equals(self.first_N)])

    def kept(self, order_N: np.ndarray) -> np.ndarray:
        """Which samples stay when each copy of one that stays is dropped; bool, N.

        A picture is dropped only where it is equal or near to one that is kept: not for being linked to it by a
        chain, at whose ends pictures may differ much.

        Args:
            order_N: all places, the ones to prefer first.
        """
        rank_N = np.empty(len(order_N), dtype=np.int64)
        rank_N[order_N] = np.arange(len(order_N))
        best = np.full(len(rank_N), len(rank_N))
        np.minimum.at(best, self.first_N, rank_N)
        near: dict[int, list[int]] = {}
        for left, right in self.pairs.tolist():
            near.setdefault(left, []).append(right)
            near.setdefault(right, []).append(left)
        kept: set[int] = set()
        for place in order_N[np.sort(best[best < len(rank_N)])].tolist():
            first = int(self.first_N[place])
            if not any(other in kept for other in near.get(first, ())):
                kept.add(first)
        keeps = np.zeros(len(rank_N), dtype=bool)
        keeps[[order_N[best[first]] for first in kept]] = True
        return keeps


def find_duplicates(prints: Fingerprints, near: Near | None) -> Duplicates:
    """Equal and near pictures.

    Args:
        near: None looks for equal ones only.
    """
    first_N = first_of_equals(prints.pixels_N)
    firsts = np.flatnonzero((first_N == np.arange(len(first_N))) & prints.hashed_N)
    if near is None or not len(firsts):
        return Duplicates(pairs=np.zeros((0, 2), dtype=np.int64), first_N=first_N)
    return Duplicates(pairs=_near_looks(prints, firsts, near), first_N=first_N)


def _near_looks(prints: Fingerprints, places: np.ndarray, near: Near) -> np.ndarray:
    """Pairs among `places` that phash proposes and dhash and colours confirm."""
    hashes, inverse = np.unique(prints.phash_N[places], return_inverse=True)
    members = np.split(places[np.argsort(inverse, kind="stable")], np.cumsum(np.bincount(inverse))[:-1])
    alone = np.bincount(inverse) == 1
    apart = near_pairs(hashes, near.distance)
    simple = alone[apart].all(axis=1)
    firsts = np.array([group[0] for group in members])
    proposed = [
        firsts[apart[simple]],
        *(_between(members[left], members[right]) for left, right in apart[~simple]),
        *(_within(members[group]) for group in np.flatnonzero(~alone)),
    ]
    pairs = np.sort(np.concatenate(proposed), axis=1)
    pairs = pairs[_confirmed(prints, pairs, near)]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _between(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([np.repeat(left, len(right)), np.tile(right, len(left))], axis=1)


def _within(group: np.ndarray) -> np.ndarray:
    return np.stack([group[places] for places in np.triu_indices(len(group), 1)], axis=1)


def _confirmed(prints: Fingerprints, pairs: np.ndarray, near: Near) -> np.ndarray:
    left, right = pairs[:, 0], pairs[:, 1]
    bits = np.bitwise_count(prints.dhash_N[left] ^ prints.dhash_N[right])
    colour = np.abs(prints.colours_NC[left].astype(np.int16) - prints.colours_NC[right]).mean(axis=1)
    return np.asarray((bits <= near.distance) & (colour <= near.colour))


def first_of_equals(values_N: np.ndarray) -> np.ndarray:
    """For each place the first one with an equal value; int64, N."""
    _, firsts, inverse = np.unique(values_N, return_index=True, return_inverse=True)
    return np.asarray(firsts[inverse], dtype=np.int64)


def pairs_of_equals(values_N: np.ndarray) -> np.ndarray:
    """Each place that is not the first of its value, with the first; int64, P x 2."""
    first_N = first_of_equals(values_N)
    others = np.flatnonzero(first_N != np.arange(len(first_N)))
    return np.stack([first_N[others], others], axis=1)


def components(length: int, links: Iterable[np.ndarray]) -> np.ndarray:
    """A number for each of `length` places, equal for all that are linked, however far; int64.

    Args:
        links: pairs of places, P x 2 each.
    """
    pairs = np.concatenate([np.zeros((0, 2), dtype=np.int64), *links])
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(length, length))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def groups_of(labels_N: np.ndarray) -> list[list[int]]:
    """The places of each label that several share, by the first place."""
    order = np.argsort(labels_N, kind="stable")
    edges = np.flatnonzero(np.diff(labels_N[order])) + 1
    groups = [group.tolist() for group in np.split(order, edges) if len(group) > 1]
    return sorted(groups)


def count_across(groups: Sequence[Sequence[int]], split_N: np.ndarray) -> int:
    """How many groups have members in several splits."""
    return sum(len({split_N[place] for place in group}) > 1 for group in groups)
