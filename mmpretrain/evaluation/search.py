"""Exact search in blocks: memory never holds queries times answers, however many there are.

Suffixes: Q queries, A answers, P pictures, T texts, M meanings, K best answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.distributed import gather_objects, world

QUERY_ROWS = 1024
ANSWER_ROWS = 4096
"""Scored at a time."""
HELD = 1 << 25
"""Scores that are kept for a second look; of more, blocks are scored twice."""
_LOW = (1 << 32) - 1


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Which texts are right for which pictures: a text is where one of the picture's own texts means the same."""

    meaning_T: Tensor
    """int64, of each text, counted from 0."""
    picture_N: Tensor
    """int64, rising; with the next, each meaning that a picture has."""
    of_picture_N: Tensor

    @staticmethod
    def of(picture_T: Tensor, group_T: Tensor) -> "Pairs":
        """From the picture that each text was given to, and what tells its meaning."""
        meaning_T = torch.unique(group_T, return_inverse=True)[1]
        both_2N = torch.unique(torch.stack([picture_T, meaning_T]), dim=1)
        return Pairs(meaning_T=meaning_T, picture_N=both_2N[0].contiguous(), of_picture_N=both_2N[1].contiguous())

    def block(self, pictures: slice, texts: slice) -> Tensor:
        """Whether each of some texts is right for each of some pictures; bool, P x T."""
        there_U, place_T = torch.unique(self.meaning_T[texts], return_inverse=True)
        bounds = torch.tensor([pictures.start, pictures.stop])
        first, last = torch.searchsorted(self.picture_N, bounds).tolist()
        picture_N, of_picture_N = self.picture_N[first:last] - pictures.start, self.of_picture_N[first:last]
        column_N = torch.searchsorted(there_U, of_picture_N).clamp(max=len(there_U) - 1)
        known_N = there_U[column_N] == of_picture_N
        has_PU = torch.zeros(pictures.stop - pictures.start, len(there_U), dtype=torch.bool)
        has_PU[picture_N[known_N], column_N[known_N]] = True
        return has_PU[:, place_T]


class Search(NamedTuple):
    """What was found for each query."""

    ahead_Q: Tensor
    """int64, wrong answers that score at least as high as the best right one."""
    right_Q: Tensor
    """int64, right answers that there are."""
    top_QK: Tensor
    """int64, the best answers; of equal scores the first in the gallery."""
    score_QK: Tensor
    hit_QK: Tensor
    """bool, whether each of them is right."""


def search(image_PE: Tensor, text_TE: Tensor, pairs: Pairs, direction: str, count: int) -> Search:
    """Score every query against every answer; ranks take turns with blocks of queries.

    Args:
        direction: i2t asks with pictures, t2i with texts.
        count: K.
    """
    query_QE, answer_AE = (image_PE, text_TE) if direction == "i2t" else (text_TE, image_PE)
    rank, ranks = world().rank, world().size
    blocks = list(slices(len(query_QE), QUERY_ROWS))
    own = {n: _search(query_QE, answer_AE, pairs, direction, count, blocks[n]) for n in range(rank, len(blocks), ranks)}
    everyone = {n: found for part in gather_objects(own) for n, found in part.items()}
    columns = zip(*(everyone[n] for n in range(len(blocks))), strict=True)
    return Search(*(torch.cat(column) for column in columns))


def slices(rows: int, size: int) -> Iterator[slice]:
    """Cuts of `size` rows, the last one shorter."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _search(query_QE: Tensor, answer_AE: Tensor, pairs: Pairs, direction: str, count: int, queries: slice) -> Search:
    """One block of queries, twice over all answers: for the best right one, then for the wrong ones ahead of it."""

    def scored() -> Iterator[tuple[int, Tensor, Tensor]]:
        for answers in slices(len(answer_AE), ANSWER_ROWS):
            right_QA = pairs.block(queries, answers) if direction == "i2t" else pairs.block(answers, queries).T
            yield answers.start, products(query_QE[queries], answer_AE[answers]), right_QA

    rows = queries.stop - queries.start
    best_Q1 = torch.full((rows, 1), float("-inf"))
    right_Q = torch.zeros(rows, dtype=torch.int64)
    top_QK = torch.empty(rows, 0, dtype=torch.int64)
    held = list(scored()) if rows * len(answer_AE) <= HELD else None
    for first, score_QA, right_QA in held or scored():
        best_Q1 = best_Q1.maximum(score_QA.masked_fill(~right_QA, float("-inf")).amax(dim=1, keepdim=True))
        right_Q += right_QA.sum(dim=1)
        both = torch.cat([top_QK, sortable(score_QA, right_QA, first)], dim=1)
        top_QK = both.topk(min(count, both.shape[1]), dim=1).values
    ahead_Q = torch.zeros(rows, dtype=torch.int64)
    for _, score_QA, right_QA in held or scored():
        ahead_Q += ((score_QA >= best_Q1) & ~right_QA).sum(dim=1)
    return Search(ahead_Q, right_Q, *unsorted(top_QK))


def products(query_QE: Tensor, answer_AE: Tensor) -> Tensor:
    """Scores in fp32, summed in fp64: rounded, they are the same whatever stands beside them in a block, so that equal
    vectors tie and the best right answer of one product can be compared with those of another. What is no number
    scores least: it is ahead of nothing.
    """
    score_QA = (query_QE.double() @ answer_AE.double().T).float()
    return torch.where(score_QA.isnan(), float("-inf"), score_QA) + 0.0  # -0 and 0 are one


def sortable(score_QA: Tensor, right_QA: Tensor, first: int) -> Tensor:
    """Score, place in the gallery and whether it is right, as int64 that sort by score, then by place.

    Args:
        score_QA: without -0, whose bits differ from those of 0.
        first: place of the first answer.
    """
    bits_QA = score_QA.contiguous().view(torch.int32)
    # the bits of negative numbers fall as they rise
    key_QA = (bits_QA ^ ((bits_QA >> 31) & 0x7FFFFFFF)).long()
    places_A = torch.arange(first, first + score_QA.shape[1])
    key_QA <<= 32
    key_QA += _LOW - 1 - (places_A << 1)
    key_QA += right_QA
    return key_QA


def unsorted(key_QK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places, scores and whether they are right, from what `sortable` gives."""
    low_QK = key_QK & _LOW
    rising_QK = (key_QK >> 32).to(torch.int32)
    score_QK = (rising_QK ^ ((rising_QK >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return (_LOW - low_QK) >> 1, score_QK, (low_QK & 1).bool()
