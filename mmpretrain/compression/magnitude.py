"""Unstructured pruning: the smallest weights of all matrices together become zeros, wherever they stand."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import prune

from mmpretrain.compression.work import Changed, Step, Work
from mmpretrain.core.settings import settings

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@settings
class Magnitude(Step):
    """Zeros in place of the smallest weights (Han et al. 2015, arXiv 1506.02626); shapes stay, and so do bytes: what
    gets smaller is the compressed file.
    """

    kind: Literal["magnitude"] = "magnitude"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the weights of all linear and convolutional layers, together, that become zeros; those that are zeros already
    are among them. The matrix of words, norms and biases stay."""

    def apply(self, work: Work) -> Changed:
        return with_zeros(self, work)


def with_zeros(step: Magnitude, work: Work) -> Changed:
    """The same shapes with zeros."""
    layers: list[tuple[Any, str]] = [
        (module, "weight") for module in work.module.model.modules() if isinstance(module, KINDS)
    ]
    for module, _ in layers:  # torch asks for weights in one piece, and those of convolutions stand channels last
        module.weight.data = module.weight.data.contiguous()
    prune.global_unstructured(layers, prune.L1Unstructured, amount=step.share)
    for module, name in layers:
        prune.remove(module, name)
    weights = sum(module.weight.numel() for module, _ in layers)
    zeros = sum(int((module.weight == 0).sum()) for module, _ in layers)
    return Changed(
        towers=work.towers,
        tensors=work.tensors,
        tokenizer=work.tokenizer,
        sparse=True,
        told=f"{zeros:,} of {weights:,} weights in {len(layers)} layers are zeros",
        facts={"zeros": zeros, "weights": weights, "layers": len(layers)},
    )


def zeros_of(tensors: Any) -> tuple[int, int]:
    """(zeros, all) of matrices."""
    matrices = [tensor for tensor in tensors if tensor.ndim > 1 and tensor.is_floating_point()]
    found = torch.tensor([[int((each == 0).sum()), each.numel()] for each in matrices] or [[0, 0]]).sum(dim=0)
    return int(found[0]), int(found[1])
