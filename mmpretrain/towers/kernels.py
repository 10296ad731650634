"""Which of torch's kernels computes attention."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def attention_kernel(like: Tensor) -> AbstractContextManager[None]:
    """The plain formula where it is faster: in bf16 on the processor when gradients follow.

    There the fused kernel's backward takes so long that both ways take 1.7 to 3.6 times as long (22 to 197 tokens);
    in fp32, and without gradients, the fused kernel takes 0.5 to 0.9 of the plain formula's time.
    """
    if like.device.type != "cpu" or not torch.is_grad_enabled():
        return nullcontext()
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else like.dtype
    return plain_formula() if dtype.itemsize < torch.float32.itemsize else nullcontext()


@contextmanager
def plain_formula() -> Iterator[None]:
    """In bf16 its products stay bf16, as everywhere under autocast; by itself torch would have them in fp32."""
    kept = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(kept)
