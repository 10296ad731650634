"""Beam search against its definition, written out for one picture, and against a search through all texts."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.beam import Beam

VOCABULARY, END, START, MOST = 5, 3, 0, 4


class Table:
    """A language model as a table: each word by the two before it and the picture."""

    def __init__(self, pictures: int, seed: int, sharpness: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (pictures, VOCABULARY, VOCABULARY, VOCABULARY)
        scores = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.scores = scores.log_softmax(dim=-1)
        self.picture_P = torch.arange(pictures)
        self.before_R: Tensor | None = None
        self.last_R: Tensor | None = None
        self.rows: list[int] = []

    def read(self, tokens_R: Tensor) -> Tensor:
        self.rows.append(len(tokens_R))
        self.before_R = torch.zeros_like(tokens_R) if self.last_R is None else self.last_R
        self.last_R = tokens_R
        picture_R = self.picture_P.repeat_interleave(len(tokens_R) // len(self.picture_P))
        return self.scores[picture_R, self.before_R, tokens_R]

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        assert self.last_R is not None
        self.last_R = self.last_R[rows_R]
        self.picture_P = self.picture_P if pictures_P is None else self.picture_P[pictures_P]

    def likeness(self, tokens_PKL: Tensor) -> Tensor:
        return torch.tensor(
            [
                [self.alike(picture, until_end(tokens)) for tokens in of_picture]
                for picture, of_picture in enumerate(tokens_PKL.tolist())
            ]
        )

    def alike(self, picture: int, text: tuple[int, ...]) -> float:
        """An arbitrary opinion of a text as a whole."""
        return float(self.scores[picture, len(text) % VOCABULARY, sum(text) % VOCABULARY, text[0]])

    def of_text(self, picture: int, text: tuple[int, ...]) -> float:
        row = (0, START, *text)
        return sum(float(self.scores[picture, a, b, c]) for a, b, c in zip(row, row[1:], row[2:], strict=False))


def until_end(row: Sequence[int]) -> tuple[int, ...]:
    return tuple(row[: row.index(END) + 1] if END in row else row)


def penalised(total: float, length: int, penalty: float) -> float:
    return total / ((5 + length) / 6) ** penalty


def plain_search(
    table: Table, picture: int, width: int, penalty: float, rows: list[int] | None = None, likeness: float = 0.0
) -> tuple[int, ...]:
    """The definition in `mmpretrain.heads.generation.beam`, step by step; `rows` takes how many texts are open."""
    texts: list[tuple[int, ...]] = [()]
    ended: list[tuple[int, ...]] = []
    for place in range(MOST):
        if rows is not None:
            rows.append(len(texts))
        more = [(*text, word) for text in texts for word in range(VOCABULARY)]
        more = sorted(more, key=lambda text: table.of_text(picture, text), reverse=True)[: width - len(ended)]
        ended += [text for text in more if text[-1] == END or place == MOST - 1]
        texts = [text for text in more if text[-1] != END]
    return max(
        ended,
        key=lambda text: (
            penalised(table.of_text(picture, text), len(text), penalty) + likeness * table.alike(picture, text)
        ),
    )


def written(table: Table, width: int, penalty: float, likeness: float = 0.0) -> list[tuple[int, ...]]:
    pictures = len(table.picture_P)
    task = Task(start=START, end=END, positions_P=torch.arange(pictures))
    beam = Beam(most_tokens=MOST, least_tokens=0, width=width, penalty=penalty, likeness=likeness)
    found = beam.write(table, task)
    texts = [until_end(row) for row in found.tokens_PL.tolist()]
    for picture, text in enumerate(texts):
        assert float(found.log_probability_P[picture]) == pytest.approx(table.of_text(picture, text))
    return texts


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_many_pictures_at_once_are_searched_as_the_definition_says(
    width: int, penalty: float, sharpness: float
) -> None:
    table = Table(40, seed=1, sharpness=sharpness)
    expected = [plain_search(table, picture, width, penalty) for picture in range(40)]
    assert written(table, width, penalty) == expected


@pytest.mark.parametrize("width", [1, 3, 7, 20])
@pytest.mark.parametrize("likeness", [0.2, 1.0, 5.0])
def test_of_the_texts_that_ended_the_one_is_taken_that_words_and_likeness_favour(width: int, likeness: float) -> None:
    table = Table(40, seed=1)
    expected = [plain_search(table, picture, width, 0.6, likeness=likeness) for picture in range(40)]
    assert written(table, width, 0.6, likeness) == expected
    assert (expected != [plain_search(table, picture, width, 0.6) for picture in range(40)]) == (width > 1)


def test_only_open_texts_are_read_and_none_once_the_best_is_certain() -> None:
    narrowed = certain = 0
    for seed in range(40):
        expected: list[int] = []
        plain_search(Table(1, seed, 2.0), 0, 4, 1.0, expected)
        written(table := Table(1, seed, 2.0), 4, 1.0)
        assert table.rows == expected[: len(table.rows)]
        narrowed += 1 < table.rows[-1] < 4
        certain += len(table.rows) < len([count for count in expected if count])
    assert narrowed > 5
    assert certain > 5


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_that_holds_all_texts_finds_the_best_of_all(penalty: float) -> None:
    words = [word for word in range(VOCABULARY) if word != END]
    every = [(*text, END) for length in range(MOST) for text in itertools.product(words, repeat=length)]
    every += itertools.product(words, repeat=MOST)
    assert math.isclose(sum(math.exp(Table(1, 2).of_text(0, text)) for text in every), 1.0)
    for seed in range(10):
        table = Table(1, seed)
        best = max(every, key=lambda text: penalised(table.of_text(0, text), len(text), penalty))
        assert written(table, len(every), penalty) == [best]


def test_a_higher_penalty_makes_texts_longer() -> None:
    lengths = [sum(map(len, written(Table(200, seed=3), 5, penalty))) for penalty in (0.0, 1.0, 3.0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[2]
