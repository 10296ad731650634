"""Probes, prototypes and Tip-Adapter on toy vectors, against scikit-learn and the papers' formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.evaluation.few_shot import FewShot, drawn, few_shot_figures, fewer, unit
from mmpretrain.evaluation.learned import Labelled, not_learned
from mmpretrain.evaluation.linear_probe import Probe, best_penalty
from mmpretrain.evaluation.probe import ProbeTask, held_out
from mmpretrain.evaluation.shots import Setting, prototypes, shot_probe
from mmpretrain.evaluation.tip_adapter import ALONE, TipAdapter

QUICK = settings(max_examples=20, deadline=None)


def clouds(rows: int, classes: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around a centre of each class."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, 8)) * 2
    label_N = np.arange(rows) % classes
    return centres[label_N] + spread * generator.normal(size=(rows, 8)), label_N


@given(st.integers(2, 5), st.integers(0, 99), st.sampled_from([0.01, 1.0]))
@QUICK
def test_a_probe_is_scikit_learns_on_scaled_channels(classes: int, seed: int, penalty: float):
    vectors, labels = clouds(60, classes, seed)
    asked, _ = clouds(20, classes, seed + 1)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000)).fit(vectors, labels)
    ours = Probe(vectors, labels, classes, penalty, 1000)
    assert np.allclose(ours.probabilities(asked), theirs.predict_proba(asked), atol=1e-6)
    assert ours.converged


def test_a_class_without_examples_has_no_probability_and_a_single_class_has_all():
    vectors, labels = clouds(40, 3, 0)
    found = Probe(vectors[labels < 2], labels[labels < 2], 3, 1.0, 100).probabilities(vectors)
    assert (found[:, 2] == 0).all()
    assert np.allclose(found.sum(axis=1), 1)
    alone = Probe(vectors[labels == 1], labels[labels == 1], 3, 1.0, 100).probabilities(vectors[:4])
    assert (alone == [0.0, 1.0, 0.0]).all()


def test_a_probe_that_needs_more_steps_says_so():
    vectors, labels = clouds(200, 4, 0, spread=3.0)
    assert not Probe(vectors, labels, 4, 1e4, 2).converged


def test_the_penalty_is_chosen_by_what_is_held_out_and_the_stronger_one_wins_a_tie():
    vectors, labels = clouds(30, 3, 0, spread=0.01)
    asked = clouds(30, 3, 1, spread=0.01)
    penalty, rights = best_penalty((vectors, labels), asked, 3, [1.0, 0.1, 10.0], 500)
    assert rights == {0.1: 1.0, 1.0: 1.0, 10.0: 1.0}
    assert penalty == 0.1


def test_a_fifth_is_held_out_and_equal_pictures_stay_together():
    groups = np.arange(10_000) // 2
    held = held_out(groups)
    assert (held[::2] == held[1::2]).all()
    assert held.mean() == pytest.approx(0.2, abs=0.02)
    order = np.random.default_rng(0).permutation(10_000)
    assert (held_out(groups[order]) == held[order]).all(), "wherever they stand"


def setting(k: int, classes: int, seed: int, spread: float = 1.0) -> tuple[Setting, np.ndarray]:
    vectors, labels = clouds(k * classes, classes, seed, spread)
    order = np.argsort(labels, kind="stable")
    asked, label_N = clouds(40, classes, seed + 1, spread)
    return Setting(unit(vectors[order]), labels[order], unit(asked), classes, k), label_N


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
@QUICK
def test_prototypes_are_the_nearest_centroids(k: int, classes: int, seed: int):
    given_, _ = setting(k, classes, seed)
    theirs = NearestCentroid().fit(given_.shot_MD, given_.label_M)
    assert (prototypes(given_).named_N == theirs.predict(given_.asked_ND)).all()


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 99))
@QUICK
def test_tip_adapter_is_the_formula_of_its_paper(k: int, classes: int, seed: int):
    given_, _ = setting(k, classes, seed)
    class_CD = unit(np.random.default_rng(seed).normal(size=(classes, 8)))
    alpha, beta, scale = 1.7, 3.0, 20.0
    logits = np.zeros((40, classes))
    for n, f in enumerate(given_.asked_ND):
        for c in range(classes):
            logits[n, c] = scale * f @ class_CD[c]
            for shot, label in zip(given_.shot_MD, given_.label_M, strict=True):
                logits[n, c] += alpha * np.exp(-(beta - beta * (f @ shot))) * (label == c)
    answer = TipAdapter(class_CD, scale, alpha, beta)(given_)
    assert (answer.named_N == logits.argmax(axis=1)).all()
    assert answer.chosen == {"alpha": alpha, "beta": beta}


def test_tip_adapter_leaves_the_example_out_that_it_judges():
    """With random texts the examples help; by themselves each would be named rightly whatever alpha is."""
    given_, label_N = setting(8, 4, 3, spread=0.8)
    class_CD = unit(np.random.default_rng(5).normal(size=(4, 8)))
    adapter = TipAdapter(class_CD, 10.0, None, None)
    alpha, beta = adapter.choose(given_)
    likeness = given_.shot_MD @ given_.shot_MD.T
    np.fill_diagonal(likeness, -np.inf)
    best = (adapter.logits(given_, given_.shot_MD, likeness, alpha, beta).argmax(axis=1) == given_.label_M).mean()
    none = (adapter.logits(given_, given_.shot_MD, likeness, 0.0, 1.0).argmax(axis=1) == given_.label_M).mean()
    assert best > none
    assert (adapter(given_).named_N == label_N).mean() > (adapter.zero_shot(given_.asked_ND) == label_N).mean()
    assert np.isfinite(adapter.logits(given_, given_.shot_MD, likeness, 1.0, 1.0)).all()


def test_one_example_a_class_leaves_nothing_to_choose_by():
    given_, _ = setting(1, 3, 0)
    assert TipAdapter(np.eye(3, 8), 10.0, None, None).choose(given_) == ALONE
    assert TipAdapter(np.eye(3, 8), 10.0, 7.0, None).choose(given_) == (7.0, ALONE[1])
    assert shot_probe(given_).chosen == {"C": 0.1}


def learned(groups: np.ndarray, labels: np.ndarray) -> Labelled:
    n = len(groups)
    return Labelled(rows=list(range(n)), vector_ND=np.zeros((n, 2)), label_N=labels, group_N=groups, keys=[])


@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 5))
@QUICK
def test_draws_are_of_distinct_pictures_and_do_not_hang_on_their_order(n: int, classes: int, seed: int):
    generator = np.random.default_rng(n)
    groups = generator.integers(0, n, n)
    labels = groups % classes
    found = drawn(learned(groups, labels), classes, seed)
    order = generator.permutation(n)
    again = drawn(learned(groups[order], labels[order]), classes, seed)
    for c in range(classes):
        own = groups[found[c]].tolist()
        assert own == groups[order][again[c]].tolist()
        assert sorted(own) == sorted(set(groups[labels == c].tolist()))


def test_other_seeds_draw_others():
    groups = np.arange(200)
    firsts = {tuple(drawn(learned(groups, groups % 2), 2, seed)[0][:3]) for seed in range(5)}
    assert len(firsts) == 5


def test_an_interval_is_over_draws_and_samples():
    generator = np.random.default_rng(0)
    label_N = generator.integers(0, 3, 400)
    wavering = {
        "steady": np.full((5, 400), 0.5),
        "wavering": np.repeat([[0.0], [1.0], [0.0], [1.0], [0.5]], 400, axis=1),
    }
    found = few_shot_figures(wavering, label_N)
    assert found["steady"].low == found["steady"].high == 0.5
    assert found["wavering"].value == 0.5
    assert found["wavering"].high - found["wavering"].low > 0.4
    assert found["steady"].chance == np.bincount(label_N).max() / 400


def test_what_cannot_be_learned_is_told():
    names = ["cat", "dog", "eel"]
    few = learned(np.arange(5), np.array([0, 0, 0, 1, 1]))
    asked = learned(np.arange(3), np.array([0, 1, 2]))
    assert fewer(few, names, 3) == ["1 of 3 classes have fewer than 3 examples, such as dog: all were taken."]
    assert not_learned(few, asked, names) == [
        "1 of 3 classes have no example to learn from, such as eel; their pictures count as wrong."
    ]


def test_the_split_to_learn_from_is_train_of_the_same_dataset():
    assert ProbeTask(split="val").splits == ("val", "train")
    assert ProbeTask(split="toys:val", val_split="toys:dev").splits == ("toys:val", "toys:train", "toys:dev")
    assert FewShot(split="toys:val", train_split="more:train").splits == ("toys:val", "more:train")
    with pytest.raises(ConfigError, match="train_split: train is what is asked about; learn from another split"):
        build(ProbeTask, {"split": "train"})
    with pytest.raises(ConfigError, match="train_split"):
        build(FewShot, {"split": "val", "train_split": "val"})
