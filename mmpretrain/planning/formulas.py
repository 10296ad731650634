"""Operations of kernels: torch's own formulas, and those that its counter lacks.

A multiplication and an addition are two operations. As torch's `FlopCounterMode` does, matrix products, convolutions
and attention count and nothing else.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


def attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def attention_backward(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))


def product_added(_: Tensor, left: Tensor, right: Tensor, *__: Any, **___: Any) -> int:
    return 2 * left.shape[0] * left.shape[1] * right.shape[1]


MISSING: dict[Any, Callable[..., int]] = {
    # the processor's attention kernel: torch 2.14 counts those of GPUs only
    aten._scaled_dot_product_flash_attention_for_cpu: attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    # the pair losses add to their gradients in place
    aten.addmm_: product_added,
}
for formula in MISSING.values():
    formula._get_raw = True  # type: ignore[attr-defined]  # FlopCounterMode is to hand out tensors, not shapes

FORMULAS: dict[Any, Callable[..., int]] = {**flop_registry, **MISSING}
