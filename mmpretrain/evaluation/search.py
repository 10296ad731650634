"""Exact search in blocks: memory never holds queries times answers, however many there are.

Scores are those of fp64, rounded to fp32. Most of them never need that many digits: a block is scored in fp32, whose
error has a bound, and only what lies within the bound of a decision is scored again. Where that is too much, as for a
model that gives all answers one score, or for numbers that are none, the block is scored in fp64.

Suffixes: Q queries, A answers, G groups of answers, K best answers, R right pairs, C single pairs that are looked at.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.core.distributed import gather_objects, world
from mmpretrain.evaluation.pairs import Pairs, Right

QUERY_ROWS = 1024
ANSWER_ROWS = 4096
"""Scored at a time."""
GROUP = 32
"""Answers whose best score says whether one of them is worth a look."""
MANY = 4
"""Looked at singly is at most one group in so many of a block; of more, the whole block is."""
LISTED = 64
"""Right pairs a query that are scored singly; of more, blocks are scored."""
SINGLE = 1 << 17
"""Numbers of single pairs that are multiplied at a time."""
LOOKS = (0, 1, 2, 4, 8, 16, 32, 64)
"""Blocks after which a query's K best answers so far are looked up: more often gains nothing."""
_LOW = (1 << 32) - 1


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
    right = pairs.direction(direction)
    rank, ranks = world().rank, world().size
    blocks = list(slices(len(query_QE), QUERY_ROWS))
    bound = error_bound(query_QE, answer_AE)
    own = {
        n: Block(query_QE, blocks[n], answer_AE, right, count, bound).search() for n in range(rank, len(blocks), ranks)
    }
    everyone = {n: found for part in gather_objects(own) for n, found in part.items()}
    columns = zip(*(everyone[n] for n in range(len(blocks))), strict=True)
    return Search(*(torch.cat(column) for column in columns))


def slices(rows: int, size: int) -> Iterator[slice]:
    """Cuts of `size` rows, the last one shorter."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def error_bound(query_QE: Tensor, answer_AE: Tensor) -> float | None:
    """How far a product of fp32 may be from the score; None: not known, as of numbers that are none.

    (E + 2) u |q| |a|, whatever the order of the sum (Higham 2002, Accuracy and Stability, 3.1).
    """
    if not len(query_QE) or not len(answer_AE):
        return None
    query, answer = (float(each.norm(dim=1).max()) for each in (query_QE.float(), answer_AE.float()))
    bound = 1.01 * (query_QE.shape[1] + 2) * 2.0**-24 * query * answer
    return bound if 0 < bound < 1e30 else None


class Block:
    """A block of queries against all answers.

    Args:
        queries: which of `query_QE` it has.
        count: K.
        bound: see `error_bound`.
    """

    def __init__(
        self, query_QE: Tensor, queries: slice, answer_AE: Tensor, right: Right, count: int, bound: float | None
    ) -> None:
        self.query_QE, self.answer_AE = query_QE[queries].float(), answer_AE
        self.right, self.queries, self.count, self.bound = right, queries, count, bound
        self.best_Q = self.best_right()
        rows = len(self.query_QE)
        self.ahead_Q = torch.zeros(rows, dtype=torch.int64)
        self.key_QK = torch.empty(rows, 0, dtype=torch.int64)
        self.peak_QK = torch.empty(rows, 0)
        """The K best scores of groups so far: so many answers reach the least of them."""
        self.singles: list[tuple[Tensor, Tensor, Tensor]] = []
        """Queries, answers that may be among the K best of theirs, and their scores in fp32."""
        self.close: list[tuple[Tensor, Tensor]] = []
        """Queries and answers that fp32 cannot tell from the best right one."""
        self.space = torch.empty(rows * min(ANSWER_ROWS, len(answer_AE)))

    def search(self) -> Search:
        """One look at every answer."""
        for number, answers in enumerate(slices(len(self.answer_AE), ANSWER_ROWS)):
            rest = answers.start + (answers.stop - answers.start) // GROUP * GROUP
            if self.bound is None or rest == answers.start or not self.look(number, slice(answers.start, rest)):
                rest = answers.start
            if rest < answers.stop:
                self.score(slice(rest, answers.stop))
        self.add_close()
        self.add_singles()
        return Search(self.ahead_Q, self.right.count(self.queries), *unsorted(self.key_QK))

    def best_right(self) -> Tensor:
        """The score of each query's best right answer."""
        rows = len(self.query_QE)
        best_Q = torch.full((rows,), float("-inf"))
        if int(self.right.count(self.queries).sum()) <= LISTED * rows:
            query_R, answer_R = self.right.listed(self.queries)
            return best_Q.scatter_reduce(0, query_R, self.singly(query_R, answer_R), "amax")
        for answers in slices(len(self.answer_AE), ANSWER_ROWS):
            score_QA = products(self.query_QE, self.answer_AE[answers])
            best_Q = best_Q.maximum(
                score_QA.masked_fill(~self.right.block(self.queries, answers), float("-inf")).amax(dim=1)
            )
        return best_Q

    def singly(self, query_C: Tensor, answer_C: Tensor) -> Tensor:
        """Scores of single pairs, in memory that is taken once: fresh memory costs more than the products."""
        rows = max(1, SINGLE // self.query_QE.shape[1])
        found_C = torch.empty(len(query_C), dtype=torch.float64)
        query_SE, answer_SE = (torch.empty(min(rows, len(query_C)), self.query_QE.shape[1]).double() for _ in range(2))
        for some in slices(len(query_C), rows):
            here = slice(0, some.stop - some.start)
            query_SE[here].copy_(self.query_QE.index_select(0, query_C[some]))
            answer_SE[here].copy_(self.answer_AE.index_select(0, answer_C[some]))
            torch.sum(query_SE[here].mul_(answer_SE[here]), dim=1, out=found_C[some])
        return rounded(found_C)

    # -- a block in fp64 ----------------------------------------------------------------------------------

    def score(self, answers: slice) -> None:
        """All scores of some answers."""
        score_QA, right_QA = products(self.query_QE, self.answer_AE[answers]), self.right.block(self.queries, answers)
        self.ahead_Q += ((score_QA >= self.best_Q[:, None]) & ~right_QA).sum(dim=1)
        self.keep(sortable(score_QA, right_QA, answers.start))

    def keep(self, key_QA: Tensor) -> None:
        both = torch.cat([self.key_QK, key_QA], dim=1)
        self.key_QK = both.topk(min(self.count, both.shape[1]), dim=1).values

    # -- a block in fp32, and single pairs ----------------------------------------------------------------

    def look(self, number: int, answers: slice) -> bool:
        """Whether a look at single pairs is enough; False leaves everything as it was.

        Args:
            number: of the block.
            answers: whole groups.
        """
        assert self.bound is not None
        score_QA = self.products(answers)
        score_QGI = score_QA.view(len(score_QA), -1, GROUP)
        peak_QG = score_QGI.amax(dim=2)
        peak_QK = self.peaks(number, peak_QG)
        if peak_QK.shape[1] < self.count:
            return False
        wanted_Q = peak_QK[:, -1] - 2 * self.bound
        many_Q = (peak_QG >= (self.best_Q - self.bound)[:, None]).sum(dim=1) > peak_QG.shape[1] // MANY
        least_Q = torch.where(many_Q, wanted_Q, wanted_Q.minimum(self.best_Q - self.bound))
        query_G, group_G = (peak_QG >= least_Q[:, None]).nonzero(as_tuple=True)
        if len(query_G) > peak_QG.numel() // MANY:
            return False
        score_GI = score_QGI[query_G, group_G]
        place_G, inside_I = (score_GI >= least_Q[query_G][:, None]).nonzero(as_tuple=True)
        query_C, answer_C = query_G[place_G], answers.start + group_G[place_G] * GROUP + inside_I
        score_C = score_GI[place_G, inside_I]
        counted_Q = self.count_rows(many_Q, score_QA, answers.start)
        if counted_Q is None:
            return False
        few_C = ~many_Q[query_C]
        self.ahead_Q += counted_Q
        self.ahead_Q += self.count_single(query_C[few_C], answer_C[few_C], score_C[few_C])
        self.peak_QK = peak_QK
        kept_C = score_C >= wanted_Q[query_C]
        self.singles.append((query_C[kept_C], answer_C[kept_C], score_C[kept_C]))
        return True

    def ordered(self, query_C: Tensor, value_C: Tensor) -> tuple[Tensor, Tensor]:
        """The order by query and falling value, and each one's place within its query."""
        order_C = value_C.argsort(descending=True)
        order_C = order_C[query_C[order_C].argsort(stable=True)]
        count_Q = torch.bincount(query_C, minlength=len(self.best_Q))
        first_Q = count_Q.cumsum(0) - count_Q
        return order_C, torch.arange(len(query_C)) - first_Q[query_C[order_C]]

    def products(self, answers: slice) -> Tensor:
        """Scores in fp32, in memory that the next block takes again."""
        rows, width = len(self.query_QE), answers.stop - answers.start
        out_QA = self.space[: rows * width].view(rows, width)
        return torch.mm(self.query_QE, self.answer_AE[answers].float().T, out=out_QA)

    def peaks(self, number: int, peak_QG: Tensor) -> Tensor:
        """The K best groups so far, which need not be the best of all."""
        if number not in LOOKS and self.peak_QK.shape[1] == self.count:
            return self.peak_QK
        both = torch.cat([self.peak_QK, peak_QG], dim=1)
        return both.topk(min(self.count, both.shape[1]), dim=1).values

    def count_single(self, query_C: Tensor, answer_C: Tensor, score_C: Tensor) -> Tensor:
        """Of single pairs: how many wrong ones are surely ahead, by query; close ones are kept for later."""
        assert self.bound is not None
        best_C = self.best_Q[query_C]
        ahead_C = score_C > best_C + self.bound  # a right one never is
        close_C = ~ahead_C & (score_C >= best_C - self.bound)
        self.close.append((query_C[close_C], answer_C[close_C]))
        return torch.bincount(query_C[ahead_C], minlength=len(self.best_Q))

    def add_close(self) -> None:
        """Count pairs that fp32 cannot tell from the best right one, where they are wrong and ahead."""
        if not self.close:
            return
        query_C, answer_C = (torch.cat(each) for each in zip(*self.close, strict=True))
        wrong_C = ~self.right.has(self.queries, query_C, answer_C)
        query_C, answer_C = query_C[wrong_C], answer_C[wrong_C]
        ahead_C = self.singly(query_C, answer_C) >= self.best_Q[query_C]
        self.ahead_Q += torch.bincount(query_C[ahead_C], minlength=len(self.best_Q))

    def count_rows(self, many_Q: Tensor, score_QA: Tensor, first: int) -> Tensor | None:
        """Wrong answers surely ahead of queries that have many of them in a block; None: too many are close."""
        assert self.bound is not None
        found_Q = torch.zeros_like(self.ahead_Q)
        rows = many_Q.nonzero()[:, 0]
        if not len(rows):
            return found_Q
        some_QA, best_Q1 = score_QA[rows], self.best_Q[rows][:, None]
        sure_QA = some_QA > best_Q1 + self.bound
        close_Q, close_A = (sure_QA ^ (some_QA >= best_Q1 - self.bound)).nonzero(as_tuple=True)
        if len(close_Q) > score_QA.numel() // (MANY * GROUP):
            return None
        found_Q[rows] = sure_QA.sum(dim=1)
        self.close.append((rows[close_Q], first + close_A))
        return found_Q

    def add_singles(self) -> None:
        """The K best of the single pairs, by their scores."""
        if not self.singles:
            return
        assert self.bound is not None
        query_C, answer_C, score_C = (torch.cat(each) for each in zip(*self.singles, strict=True))
        order_C, place_C = self.ordered(query_C, score_C)
        query_C, answer_C, score_C = query_C[order_C], answer_C[order_C], score_C[order_C]
        least_Q = torch.full_like(self.best_Q, float("-inf"))
        last_C = place_C == self.count - 1
        least_Q[query_C[last_C]] = score_C[last_C] - 2 * self.bound
        near_C = score_C >= least_Q[query_C]
        query_C, answer_C = query_C[near_C], answer_C[near_C]
        right_C = self.right.has(self.queries, query_C, answer_C)
        key_C = sortable(self.singly(query_C, answer_C)[:, None], right_C[:, None], answer_C[:, None])[:, 0]
        order_C, place_C = self.ordered(query_C, key_C)
        query_C, key_C = query_C[order_C], key_C[order_C]
        first_C = place_C < self.count
        key_QK = torch.full((len(self.best_Q), self.count), torch.iinfo(torch.int64).min)
        key_QK[query_C[first_C], place_C[first_C]] = key_C[first_C]
        self.keep(key_QK)


def products(query_QE: Tensor, answer_AE: Tensor) -> Tensor:
    """Scores in fp32, summed in fp64: rounded, they are the same whatever stands beside them in a block, so that equal
    vectors tie and the best right answer of one product can be compared with those of another. What is no number
    scores least: it is ahead of nothing.
    """
    return rounded(query_QE.double() @ answer_AE.double().T)


def rounded(score: Tensor) -> Tensor:
    """A sum of fp64 as a score."""
    found = score.float()
    return torch.where(found.isnan(), float("-inf"), found) + 0.0  # -0 and 0 are one


def sortable(score_QA: Tensor, right_QA: Tensor, first: int | Tensor) -> Tensor:
    """Score, place in the gallery and whether it is right, as int64 that sort by score, then by place.

    Args:
        score_QA: without -0, whose bits differ from those of 0.
        first: place of the first answer; or of the first of each row.
    """
    bits_QA = score_QA.contiguous().view(torch.int32)
    # the bits of negative numbers fall as they rise
    key_QA = (bits_QA ^ ((bits_QA >> 31) & 0x7FFFFFFF)).long()
    places_A = torch.arange(score_QA.shape[1]) + first
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
