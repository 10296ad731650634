"""Predicting words: cross-entropy over the vocabulary, summed, and how many were right."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.core.precision import at_least_fp32


def word_loss(x_ND: Tensor, targets_N: Tensor, words: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Sum of cross-entropies of N words, and how many were predicted right (detached).

    Args:
        words: vectors to logits over the vocabulary.
    """
    logits_NV = words(x_ND)
    with torch.autocast(x_ND.device.type, enabled=False):
        loss = F.cross_entropy(at_least_fp32(logits_NV), targets_N, reduction="sum")
    return loss, (logits_NV.detach().argmax(dim=1) == targets_N).sum().float()


def next_words(mask_BL: Tensor, used_B: Tensor, given: int = 0) -> Tensor:
    """Places whose next token is to be predicted: all but the last of each text in use; bool, B x (L - 1).

    Args:
        given: tokens behind the first that are a prefix, and not predicted.
    """
    following_BL = mask_BL[:, 1:] & used_B[:, None]
    following_BL = following_BL.clone()
    following_BL[:, :given] = False
    return following_BL


class WordHead(nn.Module):
    """What BERT puts between its last block and the matrix of words: a layer, GELU, a norm; and a bias a word."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.bias_V = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x_ND: Tensor, table: Callable[[Tensor], Tensor]) -> Tensor:
        logits_NV: Tensor = table(self.norm(F.gelu(self.dense(x_ND)))) + self.bias_V
        return logits_NV
