"""Vectors of a tar's pictures by open_clip, as it evaluates: NAME WEIGHTS TAR BATCH OUT -> {"seconds": ...}.

Read by webdataset in a process beside, prepared by open_clip's own transform, encoded in fp32 and made unit vectors.
"""

import json
import sys
import time

import open_clip
import torch
import torch.nn.functional as F
import webdataset
from safetensors.torch import load_file, save_file


@torch.no_grad()
def main(name: str, weights: str, tar: str, batch: int, out: str) -> float:
    model, _, prepare = open_clip.create_model_and_transforms(name, pretrained=None)
    model.eval().load_state_dict(load_file(weights))
    pictures = webdataset.WebDataset(tar, shardshuffle=False).decode("pilrgb").to_tuple("jpg").map_tuple(prepare)
    loader = webdataset.WebLoader(pictures.batched(batch), batch_size=None, num_workers=1)
    began = time.perf_counter()
    found = [F.normalize(model.encode_image(images_BCHW), dim=-1) for (images_BCHW,) in loader]
    seconds = time.perf_counter() - began
    save_file({"image_BE": torch.cat(found)}, out)
    return seconds


if __name__ == "__main__":
    name, weights, tar, batch, out = sys.argv[1:]
    print(json.dumps({"seconds": main(name, weights, tar, int(batch), out)}))
