"""Does the model that is read back from its folder say what the run says?"""

from pathlib import Path

import torch

from mmpretrain.export.captions import compare_captions
from mmpretrain.export.hub_model import HubModel
from mmpretrain.export.trained import Compared, Trained, compare


@torch.no_grad()
def check_hub_model(trained: Trained, folder: Path, tolerance: float) -> list[Compared]:
    """Vectors of pictures and texts, the scale, and captions letter by letter."""
    found, samples, model = HubModel.from_pretrained(folder), trained.samples, trained.model
    parts = []
    if trained.has_features:
        tokens_BL, mask_BL = trained.tokenizer(samples.texts)
        image_BE, text_BE = model.embed_images(samples.images_BCHW), model.embed_texts(tokens_BL, mask_BL)
        parts = [
            compare("image", image_BE, found.encode_image(samples.images_BCHW), tolerance),
            compare("text", text_BE, found.encode_text(*found.tokenize(samples.texts)), tolerance),
        ]
        if trained.pairs is not None:
            parts.append(compare("scale", trained.pairs.scale(), torch.tensor([found.scale()]), tolerance))
    if trained.captioning is not None:
        parts.append(compare_captions(trained, found.write(samples.images_BCHW)))
    return parts
