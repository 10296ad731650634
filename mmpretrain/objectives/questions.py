"""Questions with two answers, such as whether a text belongs to a picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.core.precision import at_least_fp32


def judge(logits_P2: Tensor, answers_P: Tensor, asked_P: Tensor, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the right answers, and how many were found: shares of the global batch, and metrics of both.

    Args:
        answers_P: int64, 0 or 1.
        asked_P: bool, the questions that count.
        count: of questions in the global batch.
    """
    with torch.autocast(logits_P2.device.type, enabled=False):
        losses_P = F.cross_entropy(at_least_fp32(logits_P2), answers_P, reduction="none")
    count = count.clamp(min=1)
    share = (losses_P * asked_P).sum() / count
    right = ((logits_P2.detach().argmax(dim=1) == answers_P) & asked_P).sum()
    return share, {"loss": share.detach(), "accuracy": right.float() / count}
