"""Captions as exports write them: the likeliest next word again and again, within the context of the run."""

from typing import Any

import torch
from torch import Tensor

from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.export.trained import Compared, Trained
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import write


def greedy(tokenizer: Tokenizer) -> Greedy:
    """No longer than the texts that the run has read."""
    usual = Greedy()
    return Greedy(most_tokens=min(usual.most_tokens, tokenizer.context_length - 1))


@torch.no_grad()
def write_captions(module: Any, tokenizer: Tokenizer, images_BCHW: Tensor) -> Tensor:
    """tokens_BL without the start token, end tokens behind the text."""
    start, end = tokenizer.ends
    positions_P = torch.arange(len(images_BCHW)).to(images_BCHW.device)
    task = Task(start=start, end=end, positions_P=positions_P)
    return write(module, images_BCHW, task, greedy(tokenizer)).tokens_PL


def compare_captions(trained: Trained, theirs_BL: Tensor) -> Compared:
    """How many tokens of the samples' captions are others than torch writes; none may be."""
    ours_BL = write_captions(trained.module, trained.tokenizer, trained.samples.images_BCHW)
    different = float((ours_BL != theirs_BL).sum())
    return Compared("tokens of captions that differ", different, 0.0, ours_BL.numel(), 0.0)
