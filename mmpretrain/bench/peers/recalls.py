"""R@10 of weights on the pairs of a tar, pictures to texts and texts to pictures: local-dir:FOLDER TAR ENOUGH FILES...

The files are taken in their order until the mean of both is ENOUGH; the last one always. Answers are [[i2t, t2i], ...],
null for those between.
"""

import io
import json
import sys
import tarfile
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor


def pairs(tar: str) -> tuple[list[Image.Image], list[str]]:
    """Pictures and texts, in the order of their keys."""
    pictures, texts = [], []
    with tarfile.open(tar) as shard:
        for member in shard:
            content = shard.extractfile(member)
            if content is not None and member.name.endswith(".png"):
                pictures.append(Image.open(io.BytesIO(content.read())).convert("RGB"))
            elif content is not None and member.name.endswith(".txt"):
                texts.append(content.read().decode())
    return pictures, texts


@torch.no_grad()
def recalls(model: Any, images_BCHW: Tensor, tokens_BL: Tensor) -> list[float]:
    """Both ways; equal scores count as found."""
    images_BE, texts_BE = model.encode_image(images_BCHW, normalize=True), model.encode_text(tokens_BL, normalize=True)
    scores_BB = images_BE @ texts_BE.T
    own_B = scores_BB.diagonal()
    ranks = ((scores_BB > own_B[:, None]).sum(dim=1), (scores_BB > own_B[None]).sum(dim=0))
    return [float((rank_B < 10).float().mean()) for rank_B in ranks]


def main(name: str, tar: str, enough: float, files: list[str]) -> list[list[float] | None]:
    model, _, prepare = open_clip.create_model_and_transforms(name, load_weights=False)
    model.eval()
    pictures, texts = pairs(tar)
    images_BCHW, tokens_BL = torch.stack(list(map(prepare, pictures))), open_clip.get_tokenizer(name)(texts)
    found: list[list[float] | None] = []
    reached = False
    for file in files:
        if reached and file != files[-1]:
            found.append(None)
            continue
        open_clip.load_checkpoint(model, file)
        both = recalls(model, images_BCHW, tokens_BL)
        found.append(both)
        reached = reached or sum(both) / 2 >= enough
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])))
