from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.evaluation.features import EmbeddedSplit
from mmpretrain.evaluation.retrieval import examples, rank_split, summarise
from mmpretrain.evaluation.shown import spread


def split_of(images: torch.Tensor, texts: torch.Tensor, galleries: list[str] | None = None) -> EmbeddedSplit:
    n = len(images)
    return EmbeddedSplit(
        dataset="toy",
        split="val",
        image_NE=F.normalize(images, dim=-1),
        text_NE=F.normalize(texts, dim=-1),
        image_group_N=torch.arange(n),
        text_group_N=torch.arange(n) + n,
        labels_N=torch.zeros(n, dtype=torch.int64),
        keys=[str(row) for row in range(n)],
        galleries=galleries or [""] * n,
        classes=[],
        sentences=[],
    )


def noise(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_a_model_that_knows_every_pair_finds_every_pair():
    vectors = noise(30, 8, 0)
    metrics = summarise(rank_split(split_of(vectors, vectors)))
    assert {name: figure.value for name, figure in metrics.items() if "rank" not in name} == dict.fromkeys(
        (name for name in metrics if "rank" not in name), 1.0
    )
    assert metrics["i2t_median_rank"].value == 1.0


def test_a_constant_model_finds_nothing():
    """Ties count against the model: all answers score the same."""
    metrics = summarise(rank_split(split_of(torch.ones(30, 8), torch.ones(30, 8))))
    assert metrics["i2t_R@10"].value == 0.0
    assert metrics["i2t_median_rank"].value == 30.0


@given(st.integers(11, 40), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_recall_is_what_a_plain_sort_gives(n: int, seed: int):
    split = split_of(noise(n, 8, seed), noise(n, 8, seed + 1))
    metrics = summarise(rank_split(split))
    scores = (split.image_NE @ split.text_NE.T).numpy()
    for direction, matrix in (("i2t", scores), ("t2i", scores.T)):
        ranks = np.array([list(np.argsort(-row, kind="stable")).index(i) for i, row in enumerate(matrix)])
        for k in (1, 5, 10):
            assert metrics[f"{direction}_R@{k}"].value == pytest.approx((ranks < k).mean())
        assert metrics[f"{direction}_median_rank"].value == np.median(ranks) + 1


def test_any_text_of_the_same_meaning_counts():
    vectors = noise(20, 8, 0)
    swapped = vectors[torch.arange(20) ^ 1]
    alone = split_of(vectors, swapped)
    paired = replace(alone, text_group_N=torch.arange(20) // 2)
    assert summarise(rank_split(alone))["i2t_R@1"].value == 0.0
    assert summarise(rank_split(paired))["i2t_R@1"].value == 1.0


def test_galleries_are_searched_apart_and_weigh_the_same():
    vectors = noise(24, 8, 0)
    texts = torch.cat([vectors[:20], vectors[20:].flip(0)])
    split = split_of(vectors, texts, ["large"] * 20 + ["small"] * 4)
    metrics = summarise(rank_split(split))
    assert metrics["i2t_R@1"].value == pytest.approx(0.5)
    assert metrics["i2t_R@1"].n == 24


def test_chance_is_what_random_vectors_reach():
    split = replace(split_of(noise(200, 64, 0), noise(200, 64, 1)), text_group_N=torch.arange(200) // 2)
    figure = summarise(rank_split(split))["i2t_R@10"]
    assert figure.chance == pytest.approx(1 - (190 / 200) * (189 / 199), rel=1e-6)
    assert figure.low - 0.05 < figure.chance < figure.high + 0.05


def test_an_interval_holds_its_value_and_narrows_with_more_queries():
    wide, narrow = (
        summarise(rank_split(split_of(noise(n, 4, 0) + 0.0, noise(n, 4, 0) + 0.8 * noise(n, 4, 1))))["i2t_R@10"]
        for n in (20, 400)
    )
    for figure in (wide, narrow):
        assert figure.low <= figure.value <= figure.high
    assert narrow.high - narrow.low < wide.high - wide.low


def test_scoring_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    split = split_of(noise(50, 8, 0), noise(50, 8, 0) + 0.5 * noise(50, 8, 1))
    whole = summarise(rank_split(split))
    monkeypatch.setattr("mmpretrain.evaluation.retrieval.QUERY_ROWS", 7)
    assert summarise(rank_split(split)) == whole


def test_examples_hold_hits_and_misses_with_their_answers():
    split = split_of(noise(60, 8, 0), noise(60, 8, 0) + 1.2 * noise(60, 8, 1))
    ranking = rank_split(split)[0]
    shown = examples(split, ranking, 8)
    assert {example["rank"] < 5 for example in shown} == {True, False}
    for example in shown:
        assert any(answer["hit"] for answer in example["top"]) == (example["rank"] < 5)


@given(st.lists(st.integers(), unique=True), st.integers(1, 9))
def test_spread_takes_as_many_as_it_may_in_order(rows: list[int], count: int):
    chosen = spread(rows, count)
    assert len(chosen) == min(count, len(rows))
    assert chosen == [row for row in rows if row in chosen]


def test_a_class_is_the_mean_of_its_sentences_however_many_it_has():
    from mmpretrain.evaluation.zero_shot import class_embeddings

    class Speaks:
        def texts(self, sentences: list[str]) -> torch.Tensor:
            return F.normalize(torch.tensor([[float(len(s)), float(s.count("a")), 1.0] for s in sentences]), dim=-1)

    spoken = [["a cat", "a dog", "animal"], ["car"]]
    found = class_embeddings(Speaks(), spoken)
    assert torch.allclose(found[1], Speaks().texts(["car"])[0])
    assert torch.allclose(found[0], F.normalize(Speaks().texts(spoken[0]).mean(dim=0), dim=-1))
