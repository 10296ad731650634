"""How long collectives take between ranks in nodes: rings over the faster links first, then between nodes."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Link:
    """What joins some ranks."""

    bandwidth: float
    """Bytes a second that one rank sends while it receives as much."""
    latency: float
    """Seconds until the first byte arrives."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Nodes of equally many ranks."""

    in_node: Link
    between_nodes: Link
    ranks_in_node: int


def seconds_of(kind: str, size: int, ranks: int, network: Network, pieces: int = 1) -> float:
    """Of one collective over all ranks.

    In a ring of n ranks each sends (n - 1) / n of the whole for a gather or a scatter of sums, and twice that for sums
    that everybody gets (Patarasuk and Yuan 2009). Over nodes, sums are scattered within each node, added up between
    the ranks of equal place, and gathered within nodes; a start-up takes as many turns as a tree has levels, as NCCL's
    algorithms for small messages do.

    Args:
        kind: allreduce, allgather or reduce_scatter, with or without `_base`.
        size: bytes of the whole.
        pieces: collectives that it is cut into.
    """
    inside = min(ranks, network.ranks_in_node)
    nodes = math.ceil(ranks / inside)
    passes = 2 if kind.startswith("allreduce") else 1
    turns = pieces * passes
    return (
        passes * size * _share(inside) / network.in_node.bandwidth
        + passes * size / inside * _share(nodes) / network.between_nodes.bandwidth
        + turns * _levels(inside) * network.in_node.latency
        + turns * _levels(nodes) * network.between_nodes.latency
    )


def sent(kind: str, size: int, ranks: int) -> float:
    """Bytes that one rank sends."""
    return (2 if kind.startswith("allreduce") else 1) * size * _share(ranks)


def _share(count: int) -> float:
    return (count - 1) / count


def _levels(count: int) -> int:
    return math.ceil(math.log2(count)) if count > 1 else 0
