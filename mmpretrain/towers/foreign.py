"""Whose weights a file of tensors holds, by their names, and which settings take them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers.bert_weights import translate
from mmpretrain.towers.open_clip_names import ours

BERT_WORDS = "embeddings.word_embeddings.weight"
VISUAL = "visual."
OWN = "model.image.trunk."
KERNEL = 4
"""Axes of a convolution's weight, which every image encoder has: of its stem or of its patches."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What a file is."""

    name: str
    facts: dict[str, str]
    """What its shapes say."""
    left_over: list[str]
    """Names that our towers have no place for."""
    settings: list[str]
    """That take it, with {file} where its path stands."""


def recognise(tensors: Mapping[str, Tensor], source: str) -> Recognised:
    """The family of a file's weights.

    Raises:
        ConfigError: it is of none that is known; names some of what it holds.
    """
    bare = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    if BERT_WORDS in bare:
        return _bert(bare)
    if any(name.startswith(VISUAL) for name in tensors):
        return _open_clip(tensors)
    if any(name.startswith(OWN) for name in tensors):
        raise ConfigError(f"{source}: is a checkpoint of mmpretrain and needs no import; use init=RUN")
    kernels = {name: tensor for name, tensor in tensors.items() if tensor.ndim == KERNEL}
    if kernels:
        return _image(tensors, kernels)
    named = ", ".join(list(tensors)[:3])
    raise ConfigError(
        f"{source}: neither an image encoder, a BERT nor a model of open_clip: it has {named} ({len(tensors)} in all)"
    )


def _bert(bare: Mapping[str, Tensor]) -> Recognised:
    words, inner = bare[BERT_WORDS], "encoder.layer.0.intermediate.dense.weight"
    facts = {"vocabulary": words.shape[0], "width": words.shape[1], "layers": _blocks(bare, r"encoder\.layer\.(\d+)\.")}
    if inner in bare:
        facts["mlp_width"] = bare[inner].shape[0]
    if "embeddings.position_embeddings.weight" in bare:
        facts["positions"] = bare["embeddings.position_embeddings.weight"].shape[0]
    return Recognised(
        name="a BERT of Hugging Face",
        facts={key: str(value) for key, value in facts.items()},
        left_over=translate(dict(bare))[1],
        settings=["towers.text.kind=bidirectional towers.text.weights={file}"],
    )


def _open_clip(tensors: Mapping[str, Tensor]) -> Recognised:
    found, left_over = ours(dict(tensors))
    facts = {}
    token = found.get("model.text.embedding.token.weight")
    if token is not None:
        layers = _blocks(found, r"model\.text\.blocks\.(\d+)\.")
        facts = {"text width": str(token.shape[1]), "text layers": str(layers), "vocabulary": str(token.shape[0])}
    if "model.text_projection.weight" in found:
        facts["embedding"] = str(found["model.text_projection.weight"].shape[0])
    image = "towers.image.kind=open_clip towers.image.name=ARCHITECTURE towers.image.weights={file}"
    # a text tower of another library, or CoCa's decoder, makes its image tower the only part to take
    whole = token is not None and not left_over
    return Recognised(
        name="a model of open_clip",
        facts=facts,
        left_over=left_over,
        settings=["init=open_clip:ARCHITECTURE={file}", image] if whole else [image],
    )


def _image(tensors: Mapping[str, Tensor], kernels: Mapping[str, Tensor]) -> Recognised:
    first, kernel = next(iter(kernels.items()))
    return Recognised(
        name="an image encoder, as timm and torchvision have them",
        facts={"tensors": str(len(tensors)), first: " x ".join(map(str, kernel.shape))},
        left_over=[],
        settings=["towers.image.name=ARCHITECTURE towers.image.weights={file}"],
    )


def _blocks(names: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers stand in the place of a block's."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})
