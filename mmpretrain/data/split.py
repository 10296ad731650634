"""Train, val and test such that nothing of one stands in another: whole groups of linked samples go to one split."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmpretrain.core.counter import counter_hash
from mmpretrain.core.errors import ConfigError
from mmpretrain.data.duplicates import EQUAL, Near, components, find_duplicates, pairs_of_equals
from mmpretrain.data.fingerprints import Fingerprints

LINKS = ("near", "caption", "text_group")
"""What links samples beside equal pictures, which always do."""
REST = "train"


def linked(prints: Fingerprints, near: Near, links: Sequence[str] = LINKS) -> np.ndarray:
    """A number for each sample, equal for all that equal pictures and `links` link, however far; int64, N."""
    found = find_duplicates(prints, near if "near" in links else None)
    equals = [pairs_of_equals(getattr(prints, EQUAL[link])) for link in ("bytes", "pixels", *links) if link in EQUAL]
    return components(len(prints), [found.pairs, *equals])


def assign(labels_N: np.ndarray, content_N: np.ndarray, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """The split of each sample, whole groups together; objects, N.

    Groups come in an order drawn by the seed and their content alone, so that neither the order of shards nor their
    number matters. Each goes to the first split that still has room for all of it, and what fits nowhere to train:
    no split grows beyond its share, and groups larger than a held-out split are always trained on.

    Args:
        labels_N: group of each sample.
        content_N: digest of what a sample is; a group is known by its smallest one.
        shares: of all samples, for each held-out split; the rest is train.

    Raises:
        ConfigError: the shares leave nothing to train on.
    """
    if any(not 0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        told = ", ".join(f"--{name} {share:g}" for name, share in shares.items())
        raise ConfigError(f"{told}: shares are between 0 and 1 and together less than 1")
    _, group_N, sizes = np.unique(labels_N, return_inverse=True, return_counts=True)
    names = np.full(len(sizes), np.iinfo(np.int64).max)
    np.minimum.at(names, group_N, content_N)
    room = {name: round(share * len(labels_N)) for name, share in shares.items()}
    split_of_group = np.full(len(sizes), REST, dtype=object)
    for group in np.lexsort((names, counter_hash(seed, names))).tolist():
        size = int(sizes[group])
        split = next((name for name in room if size <= room[name]), None)
        if split is not None:
            room[split] -= size
            split_of_group[group] = split
    return np.asarray(split_of_group[group_N])
