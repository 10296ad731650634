"""Every term of a student's distance from its teacher is its formula, computed text by text, head by head in fp64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mmpretrain.objectives import imitation
from mmpretrain.objectives.text_distillation import looked_at
from mmpretrain.towers.transformer import Heads

LENGTHS = (6, 3, 1)
ROWS, LONGEST = len(LENGTHS), max(LENGTHS) + 2
MASK = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]
ASKED = MASK & torch.tensor([[True], [True], [False]])
"""The last text comes from a source that is not asked."""


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def heads(count: int, channels: int, seed: int) -> Heads:
    return Heads(*(draw(ROWS, count, LONGEST, channels, seed=seed + part) for part in range(3)))


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def divergence(target: np.ndarray, found: np.ndarray) -> float:
    return float(sum(t * math.log(t / f) for t, f in zip(target, found, strict=True)))


def places(causal: bool) -> list[tuple[int, int, int]]:
    """(text, place, end of what it sees) of every token that is asked."""
    asked = [(row, place) for row in range(ROWS) for place in range(LONGEST) if ASKED[row, place]]
    return [(row, place, place + 1 if causal else LENGTHS[row]) for row, place in asked]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.5])
def test_soft_targets_are_the_divergence_of_warmed_guesses(temperature: float) -> None:
    student_NV, teacher_NV = 3 * draw(5, 11, seed=0), 3 * draw(5, 11, seed=1)
    warm = [softmax(row / temperature) for row in teacher_NV.numpy()]
    learned = [softmax(row / temperature) for row in student_NV.numpy()]
    expected = temperature**2 * sum(map(divergence, warm, learned))
    assert imitation.soft_targets(student_NV, teacher_NV, temperature).item() == pytest.approx(expected, rel=1e-12)
    # as in DistilBERT's training script
    theirs = torch.nn.KLDivLoss(reduction="batchmean")(
        (student_NV / temperature).log_softmax(-1), (teacher_NV / temperature).softmax(-1)
    )
    assert expected == pytest.approx(5 * temperature**2 * theirs.item(), rel=1e-12)


def test_cosine_distances_are_those_of_the_last_hidden_states() -> None:
    student_ND, teacher_ND = draw(7, 4, seed=0), draw(7, 4, seed=1)
    pairs = zip(student_ND.numpy(), teacher_ND.numpy(), strict=True)
    expected = sum(1 - s @ t / math.sqrt(s @ s) / math.sqrt(t @ t) for s, t in pairs)
    assert imitation.cosine_distances(student_ND, teacher_ND).item() == pytest.approx(expected, rel=1e-12)
    theirs = torch.nn.CosineEmbeddingLoss(reduction="sum")(student_ND, teacher_ND, torch.ones(7))
    assert expected == pytest.approx(theirs.item(), rel=1e-12)


def test_squared_distances_are_means_over_channels() -> None:
    student_ND, teacher_ND = draw(7, 4, seed=0), draw(7, 4, seed=1)
    expected = ((student_ND.numpy() - teacher_ND.numpy()) ** 2).sum() / 4
    assert imitation.squared_distances(student_ND, teacher_ND).item() == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(7 * torch.nn.MSELoss()(student_ND, teacher_ND).item(), rel=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_distances_compare_scores_before_the_softmax(causal: bool) -> None:
    student, teacher = heads(3, 4, seed=0), heads(3, 2, seed=10)  # other widths of a head

    def score(of: Heads, row: int, head: int, query: int, key: int) -> float:
        left, right = of.query_BHLK[row, head, query].numpy(), of.key_BHLK[row, head, key].numpy()
        return float(left @ right) / math.sqrt(len(left))

    expected = 0.0
    for row, query, end in places(causal):
        for head in range(3):
            for key in range(end):
                difference = score(student, row, head, query, key) - score(teacher, row, head, query, key)
                expected += difference**2 / end / 3
    found = imitation.attention_distances(student, teacher, looked_at(MASK, causal), ASKED)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 1), (2, 2), (0, 1)])
def test_relations_are_divergences_of_softmaxes_over_real_tokens(one: int, other: int, causal: bool) -> None:
    """The student has 2 heads of 6 channels, the teacher 4 of 5; both are cut into 4 relation heads."""
    student, teacher = heads(2, 6, seed=0), heads(4, 5, seed=10)

    def relation(of: Heads, row: int, head: int, query: int, end: int) -> np.ndarray:
        side_by_side = [np.concatenate(list(of[part][row].numpy()), axis=1) for part in (one, other)]
        width = side_by_side[0].shape[1] // 4
        left, right = (part[:, head * width : (head + 1) * width] for part in side_by_side)
        return softmax(right[:end] @ left[query] / math.sqrt(width))

    expected = sum(
        divergence(relation(teacher, row, head, query, end), relation(student, row, head, query, end)) / 4
        for row, query, end in places(causal)
        for head in range(4)
    )
    cut = [[imitation.regroup(part, 4) for part in of] for of in (student, teacher)]
    found = imitation.relation_divergence(
        (cut[0][one], cut[0][other]), (cut[1][one], cut[1][other]), looked_at(MASK, causal), ASKED
    )
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_as_many_relation_heads_as_heads_are_the_heads_themselves() -> None:
    given = heads(4, 5, seed=0).query_BHLK
    assert torch.equal(imitation.regroup(given, 4), given)


TERMS: dict[str, Callable[[Heads, Heads], Tensor]] = {
    "soft targets": lambda s, t: imitation.soft_targets(s[0].flatten(0, 2), t[0].flatten(0, 2), 2.0),
    "cosine": lambda s, t: imitation.cosine_distances(s[0].flatten(0, 2), t[0].flatten(0, 2)),
    "squared": lambda s, t: imitation.squared_distances(s[0].flatten(0, 2), t[0].flatten(0, 2)),
    "attention": lambda s, t: imitation.attention_distances(s, t, looked_at(MASK, False), ASKED),
    "relations": lambda s, t: imitation.relation_divergence(s[:2], t[:2], looked_at(MASK, False), ASKED),
}


@pytest.mark.parametrize("name", TERMS)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name: str) -> None:
    teacher = heads(2, 3, seed=0)
    student = Heads(*(part.clone().requires_grad_() for part in teacher))
    found = TERMS[name](student, teacher)
    assert found.item() == pytest.approx(0, abs=1e-12)
    for gradient in torch.autograd.grad(found, list(student), allow_unused=True):
        assert gradient is None or gradient.abs().max() < 1e-12


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    teacher = heads(2, 3, seed=10)
    student = tuple(part.requires_grad_() for part in heads(2, 3, seed=0))
    assert torch.autograd.gradcheck(lambda *given: TERMS[name](Heads(*given), teacher), student)


@pytest.mark.parametrize("name", ["attention", "relations"])
def test_what_padding_and_texts_that_are_not_asked_hold_changes_nothing(name: str) -> None:
    student, teacher = heads(2, 3, seed=0), heads(2, 3, seed=10)
    expected = TERMS[name](student, teacher)
    noise = 100 * draw(ROWS, 2, LONGEST, 3, seed=20) * ~ASKED[:, None, :, None]
    found = TERMS[name](Heads(*(part + noise for part in student)), teacher)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
