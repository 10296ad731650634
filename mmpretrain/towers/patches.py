"""Convolutions that cut a picture into patches, as one matrix product."""

import torch
from torch import Tensor, nn

SMALLEST = 8
"""Side of the patches from which on the product is used: those of Vision Transformers, not the steps of other nets."""


class PatchConv(nn.Conv2d):
    """A convolution whose windows stand side by side; the same numbers up to rounding.

    As a product, because on the processor torch's backward of such a convolution takes 22 % of a ViT-B/32's forward and
    backward in bf16 (batch 32). Windows are read in the order in which the tower keeps pictures and weights in memory.
    """

    def forward(self, input: Tensor) -> Tensor:
        side = self.kernel_size[0]
        height, width = (extent // side for extent in input.shape[2:])
        if torch.compiler.is_exporting() or input.shape[2:] != (height * side, width * side):
            return super().forward(input)
        rows_BHPWPC = input.permute(0, 2, 3, 1).unflatten(2, (width, side)).unflatten(1, (height, side))
        patches_MN = rows_BHPWPC.transpose(2, 3).reshape(-1, side * side * input.shape[1])
        weight_NO = self.weight.permute(0, 2, 3, 1).flatten(1).T
        # not F.linear, in whose place DeepSpeed's stage 3 puts one that rounds otherwise
        found_MO = patches_MN @ weight_NO if self.bias is None else torch.addmm(self.bias, patches_MN, weight_NO)
        return found_MO.view(-1, height, width, self.out_channels).permute(0, 3, 1, 2)


def as_products(trunk: nn.Module) -> None:
    """Put a `PatchConv` with the same parameters in the place of each convolution that it can stand for."""
    for name, part in list(trunk.named_modules()):
        if name and type(part) is nn.Conv2d and cuts_patches(part):
            product = PatchConv(
                part.in_channels,
                part.out_channels,
                part.kernel_size,  # type: ignore[arg-type]
                part.stride,  # type: ignore[arg-type]
                bias=part.bias is not None,
                device="meta",
            )
            product.weight, product.bias = part.weight, part.bias
            product.train(part.training)
            trunk.set_submodule(name, product)


def cuts_patches(conv: nn.Conv2d) -> bool:
    sides = {*conv.kernel_size, *conv.stride}
    plain = conv.padding in ((0, 0), "valid") and conv.groups == 1 and conv.dilation == (1, 1)
    return plain and len(sides) == 1 and sides.pop() >= SMALLEST
