"""Searches against plain sorts and formulas, in any number of blocks."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.evaluation.pairs import Pairs
from mmpretrain.evaluation.rerank import reranked
from mmpretrain.evaluation.retrieval import lines, summarise
from mmpretrain.evaluation.search import Block, products, sortable, unsorted
from mmpretrain.evaluation.shown import spread
from mmpretrain.evaluation.shown_searches import examples
from tests.evaluation.searches import noise, ranked


def test_a_model_that_knows_every_pair_finds_every_pair():
    vectors = noise(30, 8, 0)
    metrics = summarise(ranked(vectors, vectors))
    assert {name: figure.value for name, figure in metrics.items() if "rank" not in name} == dict.fromkeys(
        (name for name in metrics if "rank" not in name), 1.0
    )
    assert metrics["i2t_median_rank"].value == 1.0


def test_a_constant_model_finds_nothing():
    """Ties count against the model: all answers score the same."""
    metrics = summarise(ranked(torch.ones(30, 8), torch.ones(30, 8)))
    assert metrics["i2t_R@10"].value == 0.0
    assert metrics["i2t_median_rank"].value == 30.0


@given(st.integers(11, 40), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_recall_is_what_a_plain_sort_gives(n: int, seed: int):
    images, texts = noise(n, 8, seed), noise(n, 8, seed + 1)
    metrics = summarise(ranked(images, texts))
    scores = (F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T).numpy()
    for direction, matrix in (("i2t", scores), ("t2i", scores.T)):
        ranks = np.array([list(np.argsort(-row, kind="stable")).index(i) for i, row in enumerate(matrix)])
        for k in (1, 5, 10):
            assert metrics[f"{direction}_R@{k}"].value == pytest.approx((ranks < k).mean())
        assert metrics[f"{direction}_median_rank"].value == np.median(ranks) + 1


def test_any_text_of_the_same_meaning_counts():
    vectors = noise(20, 8, 0)
    swapped = vectors[torch.arange(20) ^ 1]
    paired = [row // 2 for row in range(20)]
    assert summarise(ranked(vectors, swapped))["i2t_R@1"].value == 0.0
    assert summarise(ranked(vectors, swapped, meanings=paired))["i2t_R@1"].value == 1.0


def test_galleries_are_searched_apart_and_weigh_the_same():
    vectors = noise(24, 8, 0)
    texts = torch.cat([vectors[:20], vectors[20:].flip(0)])
    metrics = summarise(ranked(vectors, texts, names=["large"] * 20 + ["small"] * 4))
    assert metrics["i2t_R@1"].value == pytest.approx(0.5)
    assert metrics["i2t_R@1"].n == 24


def test_chance_is_what_random_vectors_reach():
    found = ranked(noise(200, 64, 0), noise(200, 64, 1), meanings=[row // 2 for row in range(200)])
    figure = summarise(found)["i2t_R@10"]
    assert figure.chance == pytest.approx(1 - (190 / 200) * (189 / 199), rel=1e-6)
    assert figure.low - 0.05 < figure.chance < figure.high + 0.05


def test_an_interval_holds_its_value_and_narrows_with_more_queries():
    wide, narrow = (
        summarise(ranked(noise(n, 4, 0) + 0.0, noise(n, 4, 0) + 0.8 * noise(n, 4, 1)))["i2t_R@10"] for n in (20, 400)
    )
    for figure in (wide, narrow):
        assert figure.low <= figure.value <= figure.high
    assert narrow.high - narrow.low < wide.high - wide.low


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 9), st.integers(0, 99), st.booleans())
@settings(max_examples=40, deadline=None)
def test_scoring_in_blocks_changes_nothing(n: int, queries: int, answers: int, seed: int, alike: bool):
    """Down to the last tie: vectors of few different values, several pictures of a text and texts of a picture."""
    generator = torch.Generator().manual_seed(seed)
    width = 1 if alike else 3
    images, texts = (torch.randint(1, 3, (n, width), generator=generator).float() for _ in range(2))
    groups = {name: torch.randint(0, n, (n,), generator=generator).tolist() for name in ("pictures", "meanings")}
    whole = ranked(images, texts, **groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmpretrain.evaluation.search.QUERY_ROWS", queries)
        patch.setattr("mmpretrain.evaluation.search.ANSWER_ROWS", answers)
        parts = ranked(images, texts, **groups)
    for one, other in zip(whole, parts, strict=True):
        for left, right in zip(one.found, other.found, strict=True):
            assert torch.equal(left, right)
    assert summarise(whole) == summarise(parts)


@given(st.integers(1, 60), st.integers(0, 999), st.sampled_from([0.0, 0.3, 2.0]), st.sampled_from([1, 4, 1000]))
@settings(max_examples=60, deadline=None)
def test_what_fp32_cannot_decide_is_decided_in_fp64(n: int, seed: int, spread: float, many: int):
    """Scores in fp64 are the reference; vectors repeat, and some differ by less than fp32 can tell."""
    generator = torch.Generator().manual_seed(seed)
    texts = noise(n, 5, seed)[torch.randint(0, n, (n,), generator=generator)]
    images = texts + spread * noise(n, 5, seed + 1)
    images = images * (1 + 2.0**-23 * torch.randint(-1, 2, (n, 1), generator=generator))
    groups = {name: torch.randint(0, n, (n,), generator=generator).tolist() for name in ("pictures", "meanings")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmpretrain.evaluation.search.error_bound", lambda *_: None)
        whole = ranked(images, texts, **groups, count=3)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"QUERY_ROWS": 16, "ANSWER_ROWS": 13, "GROUP": 2, "MANY": many, "LISTED": many - 1}.items():
            patch.setattr(f"mmpretrain.evaluation.search.{name}", value)
        quick = ranked(images, texts, **groups, count=3)
    for one, other in zip(whole, quick, strict=True):
        for left, right in zip(one.found, other.found, strict=True):
            assert torch.equal(left, right)


def test_most_of_a_large_gallery_is_scored_in_fp32_alone(monkeypatch: pytest.MonkeyPatch):
    images = noise(4096, 16, 0)
    texts = images + 0.5 * noise(4096, 16, 1)
    seen = []
    whole = Block.score
    monkeypatch.setattr(Block, "score", lambda block, answers: (seen.append(answers), whole(block, answers)))
    found = ranked(images, texts)
    assert not seen
    scores = F.normalize(images, dim=-1).double() @ F.normalize(texts, dim=-1).double().T
    assert found[0].ranks.tolist() == (scores.float() >= scores.float().diag()[:, None]).sum(dim=1).sub(1).tolist()


@given(st.integers(2, 30), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_recall_of_several_captions_a_picture_is_that_of_clip_benchmark(pictures: int, seed: int):
    """Its recall_at_k, and how often that is above 0, from the formula that it publishes."""
    generator = np.random.default_rng(seed)
    owner = np.sort(np.concatenate([np.arange(pictures), generator.integers(0, pictures, 2 * pictures)]))
    n = len(owner)
    images, texts = noise(pictures, 6, seed), noise(n, 6, seed + 1)
    found = summarise(ranked(images[owner], texts, pictures=owner.tolist(), count=10))
    scores = F.normalize(texts, dim=-1) @ F.normalize(images, dim=-1).T
    positive = torch.from_numpy(owner[:, None] == np.arange(pictures))
    for direction, matrix, right in (("t2i", scores, positive), ("i2t", scores.T, positive.T)):
        for k in (1, 5, 10):
            top = matrix.topk(min(k, matrix.shape[1]), dim=1).indices
            recall = right.gather(1, top).sum(dim=1) / right.sum(dim=1)
            expected = float((recall > 0).float().mean())
            assert found[f"{direction}_any_hit@{k}"].value == pytest.approx(expected)
            assert found[f"{direction}_R@{k}"].value == pytest.approx(expected), "without ties they are one"
            if direction == "i2t":
                assert found[f"i2t_found_share@{k}"].value == pytest.approx(float(recall.mean()))
    assert found["i2t_R@1"].n == pictures
    assert found["t2i_R@1"].n == n
    assert "t2i_found_share@1" not in found, "a text has one picture"


def test_what_is_no_number_finds_nothing():
    images, texts = noise(12, 4, 0), noise(12, 4, 0)
    texts[3] = float("nan")
    i2t, t2i = ranked(images, texts)
    assert i2t.ranks[3] == 11
    assert t2i.ranks[3] == 11
    assert (np.delete(i2t.ranks, 3) == 0).all()


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.integers(0, 1 << 30))
def test_answers_sort_by_score_and_then_by_place(scores: list[float], first: int):
    score_1A = torch.tensor([scores]) + 0.0
    right_1A = torch.arange(len(scores))[None] % 3 == 0
    keys = sortable(score_1A, right_1A, first).sort(dim=1, descending=True).values
    place, score, right = unsorted(keys)
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    assert (place[0] - first).tolist() == order
    assert score[0].tolist() == [scores[row] for row in order]
    assert right[0].tolist() == [row % 3 == 0 for row in order]


def test_scores_are_the_same_in_any_company():
    queries, answers = noise(50, 96, 0), noise(70, 96, 1)
    whole = products(queries, answers)
    for rows in (1, 3, 17):
        assert torch.equal(whole[:rows, -rows:], products(queries[:rows], answers[-rows:]))


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_block_of_pairs_is_the_plain_definition(pictures: int, texts: int, meanings: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    picture_T = torch.randint(0, pictures, (texts,), generator=generator)
    group_T = torch.randint(-meanings, meanings, (texts,), generator=generator)
    pairs = Pairs.of(picture_T, group_T)
    expected = torch.tensor(
        [
            [any(group_T[t] == group_T[own] for own in (picture_T == p).nonzero()) for t in range(texts)]
            for p in range(pictures)
        ]
    )
    low, high = sorted(torch.randint(0, pictures + 1, (2,), generator=generator).tolist())
    left, right = sorted(torch.randint(0, texts + 1, (2,), generator=generator).tolist())
    if low < high and left < right:
        assert torch.equal(pairs.block(slice(low, high), slice(left, right)), expected[low:high, left:right])


class Judge:
    """Says of texts that end with a picture's number that they belong to it."""

    def match(self, split: str, rows: Sequence[int], texts: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        return [
            torch.tensor([float(text == f"text {row}") for text in own]) for row, own in zip(rows, texts, strict=True)
        ]


def test_a_second_look_at_the_best_answers_finds_what_is_among_them_and_nothing_else():
    found = ranked(noise(40, 8, 0), noise(40, 8, 0) + 1.0 * noise(40, 8, 1))
    again = reranked(Judge(), "val", found, 5)
    for before, after in zip(found, again, strict=True):
        assert (before.ranks > 0).any()
        assert after.again is not None
        assert (after.again[before.ranks < 5] == 0).all()
        assert (after.again[before.ranks >= 5] == before.ranks[before.ranks >= 5]).all()
    metrics = summarise(again)
    assert metrics["i2t_R@1_rerank"].value == metrics["i2t_R@5"].value
    assert metrics["i2t_R@1"] == summarise(found)["i2t_R@1"]


def test_a_judge_that_cannot_decide_is_counted_as_wrong():
    class Undecided:
        def match(self, split: str, rows: Sequence[int], texts: Sequence[Sequence[str]]) -> list[torch.Tensor]:
            return [torch.zeros(len(own)) for own in texts]

    (after, _) = reranked(Undecided(), "val", ranked(noise(20, 8, 0), noise(20, 8, 0)), 4)
    assert after.again is not None
    assert (after.again == 3).all()


def test_shown_are_the_clearest_hits_the_nearest_misses_and_the_farthest_ones():
    ranking = ranked(noise(60, 8, 0), noise(60, 8, 0) + 1.2 * noise(60, 8, 1))[0]
    shown = examples(ranking, 3)
    kinds = {kind: [each for each in shown if each["kind"] == kind] for kind in ("hit", "near", "miss")}
    assert [len(found) for found in kinds.values()] == [3, 3, 3]
    assert len({each["query"]["row"] for each in shown}) == 9
    assert all(each["rank"] == 0 and each["top"][0]["hit"] for each in kinds["hit"])
    leads = [each["top"][0]["score"] - each["top"][1]["score"] for each in kinds["hit"]]
    assert leads == sorted(leads, reverse=True)
    assert all(0 < each["rank"] < 10 for each in kinds["near"])
    assert kinds["miss"][0]["rank"] == ranking.ranks.max()
    for each in shown:
        assert any(answer["hit"] for answer in each["top"]) == ("right" not in each)
        assert all(answer["caption"] == f"text {answer['row']}" for answer in each["top"])


@pytest.mark.parametrize("direction", [0, 1])
def test_of_a_miss_the_best_right_answer_is_shown(direction: int):
    images, texts = noise(40, 8, 0), noise(40, 8, 1)
    groups = [row // 2 for row in range(40)]
    ranking = ranked(images, texts, meanings=groups)[direction]
    query_QE, answer_AE = (
        F.normalize(each, dim=-1) for each in ((images, texts) if direction == 0 else (texts, images))
    )
    for each in (found for found in examples(ranking, 3) if "right" in found):
        scores = query_QE[each["query"]["row"]] @ answer_AE.T
        right = [row for row in range(40) if groups[row] == groups[each["query"]["row"]]]
        best = max(right, key=lambda row: float(scores[row]))
        assert each["right"]["row"] == best
        assert each["right"]["score"] == pytest.approx(float(scores[best]), abs=1e-6)
        assert int((scores > scores[best]).sum()) == each["rank"]


def test_there_is_a_line_for_each_query():
    found = ranked(noise(6, 4, 0), noise(6, 4, 0), pictures=[0, 0, 1, 2, 3, 4])
    columns = lines(found, [f"k{row}" for row in range(6)])
    assert columns["direction"] == ["i2t"] * 5 + ["t2i"] * 6
    assert columns["key"] == ["k0", "k2", "k3", "k4", "k5", *(f"k{row}" for row in range(6))]
    assert columns["right"][:2] == [2, 1]
    assert columns["text"][5] == "text 0"


@given(st.lists(st.integers(), unique=True), st.integers(1, 9))
def test_spread_takes_as_many_as_it_may_in_order(rows: list[int], count: int):
    chosen = spread(rows, count)
    assert len(chosen) == min(count, len(rows))
    assert chosen == [row for row in rows if row in chosen]
