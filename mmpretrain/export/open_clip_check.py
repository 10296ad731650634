"""Does open_clip, from the folder alone, say of pictures and texts what the run says?"""

from pathlib import Path

import torch
from torchvision.transforms.functional import to_pil_image

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.export.trained import Compared, Trained, compare
from mmpretrain.towers.image_tower import NORMALISATIONS
from mmpretrain.towers.open_clip_model import FOLDER, load_open_clip, weights_of

SETTING = "--to open_clip"


@torch.no_grad()
def check_open_clip(trained: Trained, folder: Path, tolerance: float) -> list[Compared]:
    """Vectors of the same pixels, of pictures as open_clip prepares them itself, of texts, and the scale.

    Raises:
        ConfigError: open_clip cannot load the folder, and says why.
        MmpretrainError: it cuts texts into other tokens.
    """
    given = f"{FOLDER}{folder}"
    found = load_open_clip(given, weights_of(given, None, SETTING), SETTING)
    image, samples, model = trained.towers.image, trained.samples, trained.model
    assert image is not None
    mean_C11, std_C11 = (torch.tensor(each).view(3, 1, 1) for each in NORMALISATIONS[image.normalisation])
    image_BE = model.embed_images(samples.images_BCHW)
    pixels_BCHW = (samples.images_BCHW / 255 - mean_C11) / std_C11
    prepared_BCHW = torch.stack([found.preprocess(to_pil_image(picture)) for picture in samples.pictures])
    same_size = all(picture.shape[1:] == (image.size, image.size) for picture in samples.pictures)
    tokens_BL, mask_BL = trained.tokenizer(samples.texts)
    theirs_BL = found.tokenizer(samples.texts)
    length = tokens_BL.shape[1]
    if not torch.equal(theirs_BL[:, :length], tokens_BL) or theirs_BL[:, length:].any():
        raise MmpretrainError(f"{SETTING}: open_clip cuts texts of {samples.name} into other tokens than {trained.run}")
    text_BE = model.embed_texts(tokens_BL, mask_BL)
    scale = torch.ones(1) if trained.pairs is None else trained.pairs.scale()
    encode = found.model.encode_image
    return [
        compare("image", image_BE, encode(pixels_BCHW, normalize=True), tolerance),
        compare(
            "image as open_clip prepares it",
            image_BE,
            encode(prepared_BCHW, normalize=True),
            tolerance if same_size else None,  # bicubic pixels of Pillow and torch differ by rounding
        ),
        compare("text", text_BE, found.model.encode_text(theirs_BL, normalize=True), tolerance),
        compare("scale", scale, found.model.logit_scale.exp().reshape(1), tolerance),
    ]
