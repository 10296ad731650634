"""Captions by open_clip's CoCa: NAME WEIGHTS PICTURES LENGTH PRECISION -> {"seconds": 1.5, "tokens": [[...]]}.

Greedy, as `generate` does it with the one likeliest token; a short one before is not counted. bf16 is open_clip's
pure_bf16: its amp_bf16 casts all weights anew for every token, and takes longer than fp32.
"""

import json
import sys
import time
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor

PRECISIONS = {"fp32": "fp32", "bf16": "pure_bf16"}


@torch.no_grad()
def main(name: str, weights: str, pictures: str, length: int, precision: str) -> dict[str, Any]:
    model = open_clip.create_model(name, pretrained=None, precision=PRECISIONS[precision]).eval()
    model.load_state_dict(load_file(weights))
    pixels_BCHW = load_file(pictures)["pixels_BCHW"].to(next(model.parameters()).dtype)

    def write(length: int) -> Tensor:
        """The start token counts, and no text may end before the last one."""
        given = {"seq_len": length + 1, "min_seq_len": length, "generation_type": "top_k", "top_k": 1}
        tokens_BL: Tensor = model.generate(pixels_BCHW, **given)
        return tokens_BL[:, 1:]

    write(2)
    began = time.perf_counter()
    tokens_BL = write(length)
    return {"seconds": time.perf_counter() - began, "tokens": tokens_BL.tolist()}


if __name__ == "__main__":
    name, weights, pictures, length, precision = sys.argv[1:]
    print(json.dumps(main(name, weights, pictures, int(length), precision)))
