"""Searches by blocks, by faiss, and by sorting everything."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.searching import nearest as module
from mmpretrain.searching.index_files import IndexFiles, write_index
from mmpretrain.searching.nearest import exact, nearest
from mmpretrain.searching.vector_file import VectorFile


def sorted_all(vectors_NE: np.ndarray, query_QE: np.ndarray, count: int) -> list[list[int]]:
    """Exact products, everything sorted."""
    score_QN = (query_QE.astype(np.float64) @ vectors_NE.astype(np.float64).T).astype(np.float32)
    return [np.argsort(-score_N, kind="stable")[:count].tolist() for score_N in score_QN]


def unit(rows: int, seed: int, width: int = 8) -> np.ndarray:
    draws = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return draws / np.linalg.norm(draws, axis=1, keepdims=True)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    count=st.integers(1, 70),
    block=st.integers(1, 64),
    doubled=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_blocks_find_what_sorting_everything_finds(rows: int, count: int, block: int, doubled: int, seed: int) -> None:
    vectors = np.concatenate([unit(rows, seed), unit(rows, seed)[: min(doubled, rows)]])  # equal ones tie
    query = unit(3, seed + 1000)
    found = exact(vectors, query, count, block)
    assert found.place_QK.tolist() == sorted_all(vectors, query, count)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 400), count=st.integers(1, 30), kinds=st.integers(1, 400), seed=st.integers(0, 99))
def test_faiss_finds_the_same_even_where_many_are_alike(rows: int, count: int, kinds: int, seed: int) -> None:
    vectors = unit(kinds, seed)[np.random.default_rng(seed).integers(0, kinds, rows)]
    query = unit(2, seed + 1000)
    found, expected = nearest(vectors, query, count, large=0), exact(vectors, query, count)
    assert (found.place_QK == expected.place_QK).all()
    assert (found.score_QK == expected.score_QK).all()


def test_faiss_is_asked_where_there_are_very_many_and_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = module.by_faiss
    monkeypatch.setattr(module, "by_faiss", lambda *given: asked.append(1) or original(*given))
    vectors, query = unit(300, 0), unit(1, 1)
    nearest(vectors, query, 5, large=300)
    assert not asked
    nearest(vectors, query, 5, large=299)
    assert asked == [1]
    monkeypatch.setattr(module, "is_there", lambda name: False)
    nearest(vectors, query, 5, large=299)
    assert asked == [1]


def test_a_file_of_vectors_grows_and_is_one_that_numpy_maps(tmp_path: Path) -> None:
    vectors = unit(1000, 0)
    for kind in ("float32", "float16"):
        with VectorFile(tmp_path / f"{kind}.npy", kind) as file:
            for start in range(0, 1000, 300):
                file.add(vectors[start : start + 300])
        found = np.load(tmp_path / f"{kind}.npy", mmap_mode="r", allow_pickle=False)
        assert found.shape == (1000, 8)
        assert (found == vectors.astype(kind)).all()


def test_an_index_that_fails_leaves_the_one_before_and_a_whole_one_takes_its_place(tmp_path: Path) -> None:
    place = tmp_path / "search" / "it"
    place.parent.mkdir()

    def write(rows: int, fails: bool = False) -> None:
        with write_index(place) as fresh:
            fresh.add(unit(rows, 0), [{"key": f"é{row}"} for row in range(rows)])
            if fails:
                raise KeyboardInterrupt
            fresh.end({"digest": "x"})

    write(5)
    old = IndexFiles(place)
    with pytest.raises(KeyboardInterrupt):
        write(3, fails=True)
    assert IndexFiles(place).count == 5
    write(7)
    assert [each.name for each in place.parent.iterdir()] == ["it"]
    assert IndexFiles(place).item(6) == {"key": "é6"}
    assert old.item(4) == {"key": "é4"}, "who has the old one open goes on with it"
