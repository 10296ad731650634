"""Pairs of 64-bit hashes that differ in few bits, without comparing every hash with every other.

Manku, Jain and Das Sarma 2007, "Detecting near-duplicates for web crawling": cut the hash into radius + k blocks; two
hashes within the radius agree in at least k whole blocks, so each choice of k blocks sorts the hashes into buckets
and only neighbours in a bucket are compared. k grows with the collection, so that buckets stay small.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

BITS = 64


def near_pairs(hashes_N: np.ndarray, radius: int) -> np.ndarray:
    """All pairs of places whose hashes differ in at most `radius` bits.

    Args:
        hashes_N: uint64. Many equal ones cost the square of their number: make them unique first.

    Returns:
        int64, pairs x 2, the smaller place first, sorted, each pair once.
    """
    found = [np.zeros((0, 2), dtype=np.int64)]
    for mask in block_masks(len(hashes_N), radius):
        for left, right in _pairs_of_buckets(hashes_N & mask):
            near = np.bitwise_count(hashes_N[left] ^ hashes_N[right]) <= radius
            found.append(np.sort(np.stack([left[near], right[near]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def block_masks(length: int, radius: int) -> list[np.uint64]:
    """The bits by which each table sorts: every choice of k of radius + k blocks, k by the number of hashes."""
    enough = max(1.0, math.log2(max(length, 1)))
    together = next(k for k in range(1, BITS + 1) if BITS * k // (radius + k) >= enough or radius + k == BITS)
    edges = [BITS * block // (radius + together) for block in range(radius + together + 1)]
    blocks = [((1 << (end - start)) - 1) << start for start, end in itertools.pairwise(edges)]
    return [np.uint64(sum(chosen)) for chosen in itertools.combinations(blocks, together)]


def _pairs_of_buckets(keys_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places that share a key: in the sorted order each with the next one, the one after that, and so on."""
    order = np.argsort(keys_N, kind="stable")
    ranked = keys_N[order]
    starts = np.arange(len(ranked))
    for distance in range(1, len(ranked)):
        starts = starts[starts + distance < len(ranked)]
        starts = starts[ranked[starts] == ranked[starts + distance]]
        if not len(starts):
            return
        yield order[starts], order[starts + distance]
