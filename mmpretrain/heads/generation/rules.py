"""Which words may not come next: the end too early, and a row of tokens that stands there already."""

import torch
from torch import Tensor

from mmpretrain.heads.generation.base import Limits

NEVER = float("-inf")


def allow(scores_RV: Tensor, tokens_RL: Tensor, limits: Limits, end: int) -> Tensor:
    """Scores of the next word with those that the limits forbid at minus infinity.

    Where nothing would be left, a text may end.

    Args:
        tokens_RL: what is written, without the start token.
    """
    too_short = tokens_RL.shape[1] < limits.least_tokens
    if not too_short and not limits.blocked_ngram:
        return scores_RV
    forbidden_RV = repeats(tokens_RL, limits.blocked_ngram, scores_RV.shape[1])
    if too_short:
        forbidden_RV[:, end] = True
    allowed_RV = scores_RV.masked_fill(forbidden_RV, NEVER)
    stuck_R = (allowed_RV == NEVER).all(dim=1)
    allowed_RV[:, end] = torch.where(stuck_R, scores_RV[:, end], allowed_RV[:, end])
    return allowed_RV


def repeats(tokens_RL: Tensor, size: int, vocabulary: int) -> Tensor:
    """Words that would end a row of `size` tokens which the text holds already; bool, R x V; size 0: none.

    The n-gram blocking of Paulus et al. 2017 (arXiv 1705.04304), who forbid trigrams.
    """
    rows, length = tokens_RL.shape
    found_RV = torch.zeros(rows, vocabulary, dtype=torch.bool, device=tokens_RL.device)
    if not 0 < size <= length:
        return found_RV
    grams_RWN = tokens_RL.unfold(1, size, 1)
    last_R1N = tokens_RL[:, None, length - size + 1 :]
    row, place = (grams_RWN[:, :, :-1] == last_R1N).all(dim=2).nonzero(as_tuple=True)
    found_RV[row, grams_RWN[row, place, -1]] = True
    return found_RV
