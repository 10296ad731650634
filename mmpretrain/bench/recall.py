"""Row 14: exact R@k of 100,000 pictures among 100,000 texts, against torch.topk block by block, and the bare product.

Contenders take turns with parts of the queries, so that one pass over all of them has several rounds.
"""

import json
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmpretrain.bench import limit
from mmpretrain.bench.memory import beyond, in_fresh_process
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.turns import in_turns, timed
from mmpretrain.bench.works import Asked
from mmpretrain.evaluation.pairs import Pairs
from mmpretrain.evaluation.search import ANSWER_ROWS, QUERY_ROWS, Block, Search, error_bound, slices

ROWS, SMALL = 100_000, 6_000
WIDTH = 512
NOISE = 5.0
"""Of a text's vector beside its picture's: about half of them are found first."""
KS = (1, 5, 10)
TURNS = 5
EXTRA_MB = 100


class Vectors(NamedTuple):
    """Of pictures and their texts, of unit length."""

    image_PE: Tensor
    text_TE: Tensor

    @staticmethod
    def made(rows: int) -> "Vectors":
        draw = torch.Generator().manual_seed(0)
        image_PE, noise_PE = (normalize(torch.randn(rows, WIDTH, generator=draw), dim=1) for _ in range(2))
        return Vectors(image_PE, normalize(image_PE + NOISE * noise_PE, dim=1))


def measure(asked: Asked) -> Iterator[Row]:
    """Both comparisons from the same turns, and the memory of one block of queries."""
    rows = SMALL if asked.small else ROWS
    vectors, product = Vectors.made(rows), 2.0 * rows * rows * WIDTH
    ours, theirs = Ours(vectors), BlockwiseTopk(vectors)
    parts = list(slices(rows, -(-rows // asked.turns(TURNS))))
    contenders = {
        "ours": taking(parts, ours),
        "topk": taking(parts, theirs),
        "product": taking(parts, bare(vectors)),
        "limit": limit.turn(torch.float32),
    }
    seconds = in_turns(contenders, len(parts), warm_up=0)
    peak = 1 / min(seconds["limit"])
    equal = "equal" if torch.equal(ours.hits(), theirs.hits()) else "differ"
    recalls = ", ".join(f"{100 * value:.2f}" for value in ours.recalls())
    memory = in_fresh_process(__name__, rows)
    for name, peer, goal in (
        ("topk", "torch.topk of a block's scores", 0.75),
        ("product", "the bare product, block by block", 1.15),
    ):
        if asked.wants(f"14 {name}"):
            yield Row(
                row=f"14 {name}",
                work=f"exact R@1, 5, 10, {rows:,} x {rows:,}, {WIDTH} numbers, fp32",
                peer=peer,
                measure="of its time",
                ratio=Ratio.of(seconds["ours"], seconds[name]),
                goal=Goal(goal, at_least=False),
                rounds=len(parts),
                difference=f"R@1, 5, 10 {recalls} %; answers of topk {equal}; ties ahead",
                flops=product,
                share=product / sum(seconds["ours"]) / peak,
                peer_share=product / sum(seconds[name]) / peak,
                remarks=(f"{memory:.0f} MB beyond the vectors in a fresh process (goal: under {EXTRA_MB})", SCORED),
            )


SCORED = (
    "beside the product: the best of every 32 scores, a look at those groups that may hold one of the ten best or one "
    "ahead of the right answer, and the scores of the ten best once more in fp64, so that ranks do not depend on blocks"
)


def taking(parts: list[slice], work: Callable[[slice], None]) -> Callable[[], float]:
    """A turn: the next part of the queries."""
    rest = iter(parts)
    return timed(lambda: work(next(rest)))


class Ours:
    """The search of `evaluate`, in one direction."""

    def __init__(self, vectors: Vectors) -> None:
        rows = torch.arange(len(vectors.image_PE))
        self.vectors, self.bound = vectors, error_bound(*vectors)
        self.right = Pairs.of(rows, rows).direction("i2t")
        self.found: list[Search] = []

    def __call__(self, part: slice) -> None:
        for block in slices(part.stop - part.start, QUERY_ROWS):
            queries = slice(part.start + block.start, part.start + block.stop)
            block_of = Block(self.vectors.image_PE, queries, self.vectors.text_TE, self.right, max(KS), self.bound)
            self.found.append(block_of.search())

    def hits(self) -> Tensor:
        """Whether the right answer is among the first K, by query."""
        return torch.cat([each.hit_QK for each in self.found]).cumsum(dim=1) > 0

    def recalls(self) -> list[float]:
        """R@K: wrong answers ahead of the right one, ties included."""
        ahead_Q = torch.cat([each.ahead_Q for each in self.found])
        return [float((ahead_Q < k).double().mean()) for k in KS]


class BlockwiseTopk:
    """What people write: scores of a block of queries with all answers, and the best of each row."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.found: list[Tensor] = []

    def __call__(self, part: slice) -> None:
        image_PE, text_TE = self.vectors
        for block in slices(part.stop - part.start, QUERY_ROWS):
            queries = slice(part.start + block.start, part.start + block.stop)
            top_QK = (image_PE[queries] @ text_TE.T).topk(max(KS), dim=1).indices
            self.found.append(top_QK == torch.arange(queries.start, queries.stop)[:, None])

    def hits(self) -> Tensor:
        return torch.cat(self.found).cumsum(dim=1) > 0


def bare(vectors: Vectors) -> Callable[[slice], None]:
    """The same products, of which nothing is kept."""

    def once(part: slice) -> None:
        out = torch.empty(QUERY_ROWS * ANSWER_ROWS)
        for block in slices(part.stop - part.start, QUERY_ROWS):
            query_QE = vectors.image_PE[part.start + block.start : part.start + block.stop]
            for answers in slices(len(vectors.text_TE), ANSWER_ROWS):
                size = len(query_QE), answers.stop - answers.start
                torch.mm(query_QE, vectors.text_TE[answers].T, out=out[: size[0] * size[1]].view(size))

    return once


def block_megabytes(rows: int) -> float:
    """What two blocks of queries take beyond the vectors."""
    vectors = Vectors.made(rows)
    torch.mm(vectors.image_PE[:64], vectors.text_TE[:64].T)  # what torch loads on first use
    ours = Ours(vectors)
    return beyond(lambda: ours(slice(0, min(rows, 2 * QUERY_ROWS))))


if __name__ == "__main__":
    print(block_megabytes(*json.loads(sys.argv[1])))
