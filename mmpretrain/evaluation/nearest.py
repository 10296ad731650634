"""The nearest of many vectors, block by block."""

import torch
from torch import Tensor

ROWS = 1024
"""Compared at a time on each side."""


def nearest(query_ND: Tensor, among_MD: Tensor) -> list[int]:
    """For each query the row at the least Euclidean distance, of equally near ones the first."""
    return [row for part_ND in query_ND.double().split(ROWS) for row in _nearest(part_ND, among_MD)]


def _nearest(query_ND: Tensor, among_MD: Tensor) -> list[int]:
    best_N = query_ND.new_full((len(query_ND),), -torch.inf)
    row_N = torch.zeros(len(query_ND), dtype=torch.int64)
    for start in range(0, len(among_MD), ROWS):
        block_MD = among_MD[start : start + ROWS].double()
        # less the squared length of the query, which is the same for all
        closeness_NM = 2 * query_ND @ block_MD.T - block_MD.square().sum(dim=1)
        highest_N, place_N = closeness_NM.max(dim=1)
        better_N = highest_N > best_N
        best_N = torch.where(better_N, highest_N, best_N)
        row_N = torch.where(better_N, place_N + start, row_N)
    found: list[int] = row_N.tolist()
    return found
