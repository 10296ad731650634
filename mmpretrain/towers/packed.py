"""`nn.MultiheadAttention` of tokens to each other without its copies."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class PackedAttention(nn.MultiheadAttention):
    """Queries, keys and values as views of one product; the same parameters, the same numbers up to rounding.

    torch's own puts the three one after another in memory, forward and backward: a twelfth of a ViT-B/32's forward and
    backward in fp32, and more in bf16.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        """Takes query_BND; what is no plain look of tokens at each other is computed as ever."""
        if query is not key or key is not value or query.ndim != 3 or not is_plain(**options):
            return super().forward(query, key, value, **options)
        packed_BN3HK = F.linear(query, self.in_proj_weight, self.in_proj_bias).unflatten(
            2, (3, self.num_heads, self.head_dim)
        )
        y_BHNK = F.scaled_dot_product_attention(*packed_BN3HK.permute(2, 0, 3, 1, 4).unbind())
        return self.out_proj(y_BHNK.transpose(1, 2).flatten(2)), None


def is_plain(
    need_weights: bool = True,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    **_: Any,
) -> bool:
    """Nothing is masked, and nobody asks for the weights."""
    return not need_weights and key_padding_mask is None and attn_mask is None and not is_causal


def pack_attention(trunk: nn.Module) -> None:
    """Make each attention a `PackedAttention` that it can stand for."""
    for part in trunk.modules():
        if type(part) is nn.MultiheadAttention and can_be_packed(part):
            part.__class__ = PackedAttention


def can_be_packed(part: nn.MultiheadAttention) -> bool:
    return (
        part.batch_first
        and part.in_proj_weight is not None
        and part.bias_k is None
        and not (part.add_zero_attn or part.dropout)
    )
