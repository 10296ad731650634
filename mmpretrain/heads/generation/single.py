"""One text for each picture, word by word: the walk that greedy writing and sampling share."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmpretrain.heads.generation.base import Limits, Reader, Task, Written, empty_texts, read_prompt
from mmpretrain.heads.generation.rules import allow

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""(scores_RV of words that may come, positions_R, place in the text) -> ids_R."""


def write_single(reader: Reader, task: Task, limits: Limits, choose: Choose) -> Written:
    """Word after word; a text that has ended leaves the batch."""
    pictures, device = len(task.positions_P), task.positions_P.device
    tokens_PL = empty_texts(task, limits.most_tokens)
    total_P = torch.zeros(pictures, dtype=torch.float64, device=device)
    rows_R = torch.arange(pictures, device=device)  # which pictures are at work
    last_R = read_prompt(reader, task)
    begun = len(task.prompt)
    for place in range(begun, limits.most_tokens):
        scores_RV = reader.read(last_R)
        going_R = (last_R != task.end) if place > begun else torch.ones_like(rows_R, dtype=torch.bool)
        allowed_RV = allow(scores_RV, tokens_PL[rows_R, :place], limits, task.end)
        chosen_R = choose(allowed_RV, task.positions_P[rows_R], place)
        last_R = torch.where(going_R, chosen_R, task.end)
        tokens_PL[rows_R, place] = last_R
        total_P[rows_R] += torch.where(going_R, scores_RV.gather(1, last_R[:, None])[:, 0].double(), 0)
        kept_R = (last_R != task.end).nonzero()[:, 0]
        if not task.in_lockstep and len(kept_R) < len(rows_R):
            if not len(kept_R):
                break
            reader.select(kept_R, kept_R)
            rows_R, last_R = rows_R[kept_R], last_R[kept_R]
    return Written(tokens_PL[:, None], total_P[:, None])
