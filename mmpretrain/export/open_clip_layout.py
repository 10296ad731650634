"""The folder that open_clip loads as `local-dir:FOLDER`: its config, its weights, and what it cannot be."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.weights import save_tensors
from mmpretrain.data.tokenizer import ClipTokenizer
from mmpretrain.export.trained import Trained
from mmpretrain.towers.image_tower import NORMALISATIONS
from mmpretrain.towers.open_clip_image import MODEL_OPTIONS, OpenClipImage
from mmpretrain.towers.open_clip_model import FILES
from mmpretrain.towers.open_clip_names import BIAS, IMAGE, SCALE, TIMM_IMAGE, theirs
from mmpretrain.towers.timm_image import TimmImage

CONFIG = "open_clip_config.json"
POSITIONS = "positional_embedding"


def write_open_clip(trained: Trained, folder: Path) -> None:
    """Config and weights.

    Raises:
        ConfigError: the run has what a model of open_clip has not; names the settings.
    """
    if lacking := list(_lacking(trained)):
        elsewhere = trained.has_features or trained.captioning is not None
        others = "; --to onnx and --to huggingface take it as it is" if elsewhere else ""
        raise ConfigError(
            f"--to open_clip: {trained.run} has what open_clip's models have not: {'; '.join(lacking)}{others}"
        )
    config = {"model_cfg": model_config(trained), "preprocess_cfg": preprocess(trained)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_tensors(folder / FILES[0], state(trained))


def _lacking(trained: Trained) -> Iterator[str]:
    """What a model of open_clip cannot be, as KEY: REASON."""
    if not trained.has_features:
        learned = ", ".join(str(each.name) for each in trained.module.objectives)
        yield f"objectives: {learned}, which put pictures and texts into no common space"
        return
    yield from _lacking_in_text(trained)
    yield from _lacking_in_image(trained)


def _lacking_in_text(trained: Trained) -> Iterator[str]:
    text = trained.towers.text
    if text.kind != "causal":
        yield f"towers.text.kind: {text.kind}, of which the padding is seen there"
    if text.positions != "learned":
        yield f"towers.text.positions: {text.positions}"
    if text.head_width not in (None, text.width // text.heads):
        yield f"towers.text.head_width: {text.head_width}"
    if text.mlp == "swiglu":
        yield "towers.text.mlp: swiglu"
    if (
        trained.tokenizer.to_json()
        != ClipTokenizer(context_length=trained.tokenizer.context_length).build([]).to_json()
    ):
        yield "data.tokenizer: a vocabulary other than CLIP's, which there needs the package transformers"


def _lacking_in_image(trained: Trained) -> Iterator[str]:
    image, towers = trained.towers.image, trained.towers
    if image is not None and image.norm == "group":
        yield "towers.image.norm: group"
    if image is not None and image.widths:
        yield f"towers.image.widths: {len(image.widths)} parts that pruning narrowed"
    if isinstance(image, TimmImage):
        if image.options:
            yield f"towers.image.options: {', '.join(image.options)}"
    elif isinstance(image, OpenClipImage):
        config = _named(image)
        if config["embed_dim"] != towers.embedding:
            yield f"towers.embedding: {towers.embedding}, where {image.name} has {config['embed_dim']}"
        own = config["vision_cfg"]
        has_gelu = not own.get("timm_model_name") and not isinstance(own.get("layers"), list | tuple)
        if has_gelu and bool(config.get("quick_gelu")) != (towers.text.mlp == "quick_gelu"):
            yield f"towers.text.mlp: {towers.text.mlp}, where {image.name} has the other GELU, and one flag says both"
    else:
        yield f"towers.image.kind: {image.kind if image else None}"


def _named(image: OpenClipImage) -> dict[str, Any]:
    """The config of the image tower's name with what differs from it."""
    config: dict[str, Any] = dict(open_clip.get_model_config(image.name) or {})
    config |= {key: value for key, value in image.options.items() if key in MODEL_OPTIONS}
    options = {key: value for key, value in image.options.items() if key not in MODEL_OPTIONS}
    return {**config, "vision_cfg": {**config["vision_cfg"], **options}}


def model_config(trained: Trained) -> dict[str, Any]:
    """The model in open_clip's words; the other way: `towers.open_clip_config`."""
    text = trained.towers.text
    found: dict[str, Any] = {
        "embed_dim": trained.towers.embedding,
        "quick_gelu": text.mlp == "quick_gelu",
        "vision_cfg": _vision(trained.towers.image),
        "text_cfg": {
            "context_length": trained.tokenizer.context_length,
            "vocab_size": trained.tokenizer.vocabulary,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
            "mlp_ratio": (text.mlp_width or 4 * text.width) / text.width,
        },
    }
    if (bias := _bias(trained)) is not None:
        found["init_logit_bias"] = float(bias)  # says that there is one
    return found


def _vision(image: Any) -> dict[str, Any]:
    if isinstance(image, OpenClipImage):
        return {**_named(image)["vision_cfg"], "image_size": image.size, "timm_model_pretrained": False}
    return {
        "timm_model_name": image.name,
        "timm_model_pretrained": False,
        "timm_pool": "",  # the architecture's own, as our tower pools
        "timm_proj": "linear",
        "timm_proj_bias": False,
        "image_size": image.size,
    }


def preprocess(trained: Trained) -> dict[str, Any]:
    """What `data.transforms.Centre` and the image tower do to a picture."""
    image = trained.towers.image
    assert image is not None
    mean, std = NORMALISATIONS[image.normalisation]
    return {"size": image.size, "mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"}


def _bias(trained: Trained) -> Tensor | None:
    bias = getattr(trained.pairs, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def state(trained: Trained) -> dict[str, Tensor]:
    """The weights under open_clip's names; fusion, decoder and heads have none."""
    image = IMAGE if isinstance(trained.towers.image, OpenClipImage) else TIMM_IMAGE
    own = {f"model.{name}": tensor for name, tensor in trained.model.state_dict().items()}
    found = theirs(own, image)
    # towers that read two passages in a row have places for both
    found[POSITIONS] = found[POSITIONS][: trained.tokenizer.context_length].clone()
    scale = trained.pairs.scale() if trained.pairs is not None else torch.ones(1)
    found[SCALE] = scale.detach().log().reshape(())
    if (bias := _bias(trained)) is not None:
        found[BIAS] = bias.detach().reshape(())
    return found
