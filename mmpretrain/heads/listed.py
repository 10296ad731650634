"""Answers of a list, ranked by how likely a decoder is to write them."""

import torch
from torch import Tensor

from mmpretrain.heads.generation.reader import QuestionReader

SHORTLIST = 128
"""Answers of each question that are read in full, as in BLIP (Li et al. 2022, arXiv 2201.12086)."""
WORDS = 1024
"""Read at a time: with BERT's vocabulary their logits are 125 MB."""


def rank(reader: QuestionReader, last_P: Tensor, tokens_CL: Tensor, mask_CL: Tensor) -> Tensor:
    """Log-probability of each of C answers to each question, fp64, P x C.

    Of more than SHORTLIST answers those are read in full whose first word is likeliest; the others get minus infinity.

    Args:
        last_P: the end token of each question, which the reader has not read.
        tokens_CL: without start token.
    """
    begun_PC = reader.read(last_P)[:, tokens_CL[:, 0]].double()
    shortlist_PK = begun_PC.argsort(dim=1, descending=True, stable=True)[:, :SHORTLIST]
    # of the shapes alone: under ZeRO-3 all ranks have to read equally often
    at_a_time = max(1, WORDS // (len(last_P) * tokens_CL.shape[1]))
    rest = [reader.likelihood(tokens_CL[part_PK], mask_CL[part_PK]) for part_PK in shortlist_PK.split(at_a_time, dim=1)]
    log_probability_PK = begun_PC.gather(1, shortlist_PK) + torch.cat(rest, dim=1)
    return torch.full_like(begun_PC, float("-inf")).scatter(1, shortlist_PK, log_probability_PK)
