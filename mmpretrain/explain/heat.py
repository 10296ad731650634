"""A run's model as whoever wants heat maps asks it: text and picture in, maps out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.explain.base import Target
from mmpretrain.explain.build import BLIND, method_named, methods, suited
from mmpretrain.explain.overlay import overlay_png
from mmpretrain.explain.texts import Asked, ask
from mmpretrain.explain.words import by_word, token_shares
from mmpretrain.objectives.combine import TrainingModule


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A model that is asked; it stays as it is."""

    module: TrainingModule
    """In evaluation mode."""
    tokenizer: Tokenizer
    others_KE: Tensor | None = None
    """Vectors of texts that a text is told from, see `explain.targets.direction`; None: plain cosines."""

    @property
    def model(self) -> Any:
        return self.module.model


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """What was looked at for a text, or for a word of it."""

    text: str
    score: float
    map_HW: np.ndarray
    """fp32 in [0, 1], of the size that the image tower gets."""
    overlay: bytes
    """PNG: the map in front of the picture."""


def heat_maps(
    explained: Explained,
    image_CHW: Tensor,
    text: str,
    method: str = "",
    words: bool = False,
    by: str = "",
) -> list[HeatMap]:
    """The map of a text, and behind it those of its words where there are several.

    Args:
        image_CHW: uint8, as the image tower gets it.
        method: by name, see `explain.build.methods`; empty: the one that suits the run.
        words: of each word too, where the method can tell words apart.
        by: similarity, match or caption; empty: the first that the run knows.

    Raises:
        ConfigError: no such method or way, or one that the run cannot be asked by; names those that there are.
    """
    asked = ask(explained.module, explained.tokenizer, text, by, explained.others_KE)
    return maps_of(explained, image_CHW, asked, method, words)


def maps_of(explained: Explained, image_CHW: Tensor, asked: Asked, method: str, words: bool) -> list[HeatMap]:
    """The same of a text that was asked already."""
    targets = [asked.whole]
    # of a single word the map is the text's
    if words and len(asked.words) > 1 and tells_words(method or suited(explained.model, asked.whole)):
        targets += asked.of_words
    return [heat_map(explained, image_CHW, target, method) for target in targets]


def heat_map(explained: Explained, image_CHW: Tensor, target: Target, method: str = "") -> HeatMap:
    """The map of any target."""
    device = next(explained.module.parameters()).device
    image_CHW = image_CHW.to(device)
    map_HW = method_named(method, explained.model, target)(explained.model, target, image_CHW).cpu()
    with torch.no_grad():
        score = float(target.score(image_CHW[None])[0])
    return HeatMap(text=target.name, score=score, map_HW=map_HW.numpy(), overlay=overlay_png(image_CHW, map_HW))


def tells_words(method: str) -> bool:
    return methods().get(method) not in BLIND


def word_shares(explained: Explained, image_CHW: Tensor, asked: Asked) -> list[float]:
    """What each word of a text adds to its cosine with the picture."""
    tokens_1L, mask_1L = explained.tokenizer([asked.text])
    device = next(explained.module.parameters()).device
    with torch.no_grad():
        against_E = explained.model.embed_images(image_CHW[None].to(device))[0]
    rows = tokens_1L.to(device), mask_1L.to(device)
    shares_L, _ = token_shares(explained.model, explained.tokenizer, *rows, against_E)
    return by_word(asked.words, shares_L.cpu())


def worded(asked: Asked, shares: Sequence[float]) -> list[dict[str, Any]]:
    """Words with their shares, for pages and programs."""
    return [{"word": word.text, "share": share} for word, share in zip(asked.words, shares, strict=True)]
