"""Predicting words: cross-entropy over the vocabulary, summed, and how many were right."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives.base import Learner, Objective, Surroundings


@settings
class WordObjective(Objective):
    """Settings of objectives that predict words."""

    words: Literal["all", "seen"] = "all"
    """What can be predicted: the whole vocabulary, or only words that the training texts hold. On a small set most of
    CLIP's 49,408 never occur, and scoring them all would take most of a step."""


Logits = Callable[[Tensor, Tensor | None], Tensor]
"""Vectors, and the ids that logits are wanted of (None: all), to logits."""


class WordLearner(Learner):
    """An objective that predicts words."""

    seen_S: Tensor | None
    smoothing = 0.0
    """Share of the target that goes to all words alike."""

    def __init__(self, settings: Any, around: Surroundings) -> None:
        super().__init__(settings, around)
        # not kept with the weights: a run learns it from its data at every start
        self.register_buffer("seen_S", around.seen_S if settings.words == "seen" else None, persistent=False)

    def score(self, x_ND: Tensor, targets_N: Tensor, logits: Logits) -> tuple[Tensor, Tensor]:
        """Sum of cross-entropies of N words, and how many were predicted right (detached)."""
        logits_NV = logits(x_ND, self.seen_S)
        targets_N = self.places(targets_N)
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NV = at_least_fp32(logits_NV)
            loss = F.cross_entropy(logits_NV, targets_N, reduction="sum", label_smoothing=self.smoothing)
        # max finds the place two to three times as fast as argmax on the processor
        return loss, (logits_NV.detach().max(dim=1).indices == targets_N).sum().float()

    def log_probabilities(self, model: Any, x_BD: Tensor) -> Tensor:
        """Of each word of the vocabulary behind each vector, at least fp32; minus infinity where it cannot come."""
        scores_BS = at_least_fp32(model.words(x_BD, self.seen_S)).log_softmax(dim=-1)
        if self.seen_S is None:
            return scores_BS
        return scores_BS.new_full((x_BD.shape[0], model.vocabulary), float("-inf")).index_copy(
            1, self.seen_S, scores_BS
        )

    def places(self, ids: Tensor) -> Tensor:
        """Where ids stand among the logits; of words that training never saw, all at the first place."""
        if self.seen_S is None:
            return ids
        places = torch.searchsorted(self.seen_S, ids).clamp(max=len(self.seen_S) - 1)
        return places * (self.seen_S[places] == ids)

    def ids(self, places: Tensor) -> Tensor:
        """The ids of places among the logits."""
        return places if self.seen_S is None else self.seen_S[places]


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

    def forward(self, x_ND: Tensor, rows_S: Tensor | None, table: Logits) -> Tensor:
        bias_V = self.bias_V if rows_S is None else self.bias_V[rows_S]
        return table(self.norm(F.gelu(self.dense(x_ND))), rows_S) + bias_V
