"""Which answers are right for which queries, without ever holding a matrix of all pairs.

Suffixes: Q queries, A answers, P pictures, T texts, M meanings, N meanings of pictures, R right pairs, K single pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


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

    def direction(self, direction: str) -> "Right":
        """The same, as a search of a direction asks for it."""
        pictures = Meant(self.picture_N, self.of_picture_N)
        texts = Meant(torch.arange(len(self.meaning_T)), self.meaning_T)
        if direction == "i2t":
            return Right.of(pictures, texts, self.block)
        return Right.of(texts, pictures, lambda queries, answers: self.block(answers, queries).T)


class Meant(NamedTuple):
    """Who means what: each entry is a query or an answer, and one of its meanings; by rising `who_N`."""

    who_N: Tensor
    meaning_N: Tensor


@dataclass(frozen=True, kw_only=True)
class Right:
    """Right answers by query: those that share a meaning with it."""

    asked: Meant
    answers: Tensor
    """Answers in the order of their meanings."""
    first_M: Tensor
    """Where those of each meaning begin, and at last where they end."""
    key_N: Tensor
    """Rising; each answer with one of its meanings as one number."""
    block: Callable[[slice, slice], Tensor]
    """Whether each of some answers is right for each of some queries; bool, Q x A."""

    @staticmethod
    def of(asked: Meant, answered: Meant, block: Callable[[slice, slice], Tensor]) -> "Right":
        meanings = 1 + int(max(each.meaning_N.max() if len(each.meaning_N) else -1 for each in (asked, answered)))
        counts_M = torch.bincount(answered.meaning_N, minlength=meanings)
        return Right(
            asked=asked,
            answers=answered.who_N[answered.meaning_N.argsort(stable=True)],
            first_M=torch.nn.functional.pad(counts_M.cumsum(0), (1, 0)),
            key_N=(answered.who_N * meanings + answered.meaning_N).sort().values,
            block=block,
        )

    def entries(self, queries: slice) -> Meant:
        """Meanings of some queries, which count from 0."""
        bounds = torch.tensor([queries.start, queries.stop])
        first, last = torch.searchsorted(self.asked.who_N, bounds).tolist()
        return Meant(self.asked.who_N[first:last] - queries.start, self.asked.meaning_N[first:last])

    def count(self, queries: slice) -> Tensor:
        """How many right answers each query has; int64, Q."""
        who_N, meaning_N = self.entries(queries)
        found_Q = torch.zeros(queries.stop - queries.start, dtype=torch.int64)
        return found_Q.index_add(0, who_N, self.first_M[meaning_N + 1] - self.first_M[meaning_N])

    def listed(self, queries: slice) -> tuple[Tensor, Tensor]:
        """Query and answer of every right pair; int64, R each."""
        who_N, meaning_N = self.entries(queries)
        count_N = self.first_M[meaning_N + 1] - self.first_M[meaning_N]
        entry_R = torch.arange(len(who_N)).repeat_interleave(count_N)
        behind_R = torch.arange(len(entry_R)) - (count_N.cumsum(0) - count_N)[entry_R]
        return who_N[entry_R], self.answers[self.first_M[meaning_N[entry_R]] + behind_R]

    def has(self, queries: slice, query_K: Tensor, answer_K: Tensor) -> Tensor:
        """Whether single answers are right for queries that count from the slice's start; bool, K."""
        who_N, meaning_N = self.entries(queries)
        count_Q = torch.bincount(who_N, minlength=queries.stop - queries.start)
        first_Q, count_K = count_Q.cumsum(0) - count_Q, count_Q[query_K]
        # a line for each meaning of each query that is asked about
        asked_L = torch.arange(len(query_K)).repeat_interleave(count_K)
        behind_L = torch.arange(len(asked_L)) - (count_K.cumsum(0) - count_K)[asked_L]
        key_L = answer_K[asked_L] * (len(self.first_M) - 1) + meaning_N[first_Q[query_K[asked_L]] + behind_L]
        place_L = torch.searchsorted(self.key_N, key_L).clamp(max=len(self.key_N) - 1)
        found_K = torch.zeros(len(query_K), dtype=torch.int64).index_add(
            0, asked_L, (self.key_N[place_L] == key_L).long()
        )
        return found_K > 0
