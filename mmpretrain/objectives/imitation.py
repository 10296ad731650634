"""How far a student's text tower is from its teacher's: pure functions, each a sum over the tokens that are asked.

Suffixes: N tokens that are asked, B batch, Q and L places of a text (who looks, and at whom), H heads, K channels of a
head, D width, V vocabulary. None of them divides by a number of tokens: that is the objective's global count.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from mmpretrain.objectives.pairs import FAR_BELOW
from mmpretrain.towers.transformer import Heads


def soft_targets(student_NV: Tensor, teacher_NV: Tensor, temperature: float) -> Tensor:
    """T^2 * sum_n KL(softmax(t_n / T) || softmax(s_n / T)), with T the temperature.

    T^2 keeps the size of the gradient (Hinton et al. 2015, arXiv 1503.02531); as DistilBERT has it (Sanh et al. 2019,
    arXiv 1910.01108).
    """
    student, teacher = ((logits_NV / temperature).log_softmax(dim=1) for logits_NV in (student_NV, teacher_NV))
    return temperature**2 * F.kl_div(student, teacher, reduction="sum", log_target=True)


def cosine_distances(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """sum_n 1 - cos(s_n, t_n), of the last hidden states in DistilBERT (Sanh et al. 2019, arXiv 1910.01108)."""
    return (1 - F.cosine_similarity(student_ND, teacher_ND, dim=1)).sum()


def squared_distances(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """sum_n 1/D * |s_n - t_n|^2, of mapped hidden states in TinyBERT (Jiao et al. 2020, arXiv 1909.10351)."""
    return (student_ND - teacher_ND).square().mean(dim=1).sum()


def attention_distances(student: Heads, teacher: Heads, seen_BQL: Tensor, asked_BQ: Tensor) -> Tensor:
    """sum_q 1/H * sum_h 1/|seen by q| * sum_(l seen by q) (s_hql - t_hql)^2, with the attention s = q . l / sqrt(K).

    Of queries q and keys l before the softmax, which TinyBERT found to be learned faster and better than behind it
    (Jiao et al. 2020, arXiv 1909.10351, section 3).

    Args:
        seen_BQL: bool, at whom a token may look.
        asked_BQ: bool, tokens that are asked; each sees one token at least.
    """
    distance_BQL = (_scores(*student[:2]) - _scores(*teacher[:2])).square().mean(dim=1)
    distance_BQ = (distance_BQL * seen_BQL).sum(dim=2) / seen_BQL.sum(dim=2).clamp(min=1)
    return (distance_BQ * asked_BQ).sum()


def relation_divergence(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], seen_BQL: Tensor, asked_BQ: Tensor
) -> Tensor:
    """sum_q 1/H * sum_h KL(t_hq || s_hq), with the relation s_hq = softmax_l(a_hq . b_hl / sqrt(K)) over those q sees.

    With a and b both queries, both keys or both values it is MiniLMv2's (Wang et al. 2021, arXiv 2012.15828); with
    queries and keys, and with values twice, MiniLM's (Wang et al. 2020, arXiv 2002.10957).

    Args:
        student: a and b, each B x H x L x K of its own K; the same for the teacher.
        seen_BQL: bool, at whom a token may look.
        asked_BQ: bool, tokens that are asked.
    """
    of_student_BHQL, of_teacher_BHQL = (
        _scores(*pair).masked_fill(~seen_BQL[:, None], FAR_BELOW).log_softmax(dim=3) for pair in (student, teacher)
    )
    divergence_BHQL = F.kl_div(of_student_BHQL, of_teacher_BHQL, reduction="none", log_target=True)
    return (divergence_BHQL.sum(dim=3).mean(dim=1) * asked_BQ).sum()


def regroup(heads_BHLK: Tensor, count: int) -> Tensor:
    """The channels of all heads side by side, cut into `count` heads (MiniLMv2's relation heads)."""
    return heads_BHLK.transpose(1, 2).flatten(2).unflatten(2, (count, -1)).transpose(1, 2)


def _scores(left_BHLK: Tensor, right_BHLK: Tensor) -> Tensor:
    """Scaled products of all places with all places, B x H x Q x L."""
    return left_BHLK @ right_BHLK.transpose(2, 3) / math.sqrt(left_BHLK.shape[3])
