"""What is searched: the distinct pictures and all texts of a split, gallery by gallery.

Suffixes: P pictures, T texts, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmpretrain.data.told import Told
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.pairs import Pairs


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures and texts that are searched together."""

    name: str
    rows_P: list[int]
    """The first sample of each picture, as its place in the split."""
    rows_T: list[int]
    """The sample that each text stands in."""
    texts_T: list[str]
    picture_T: Tensor
    """The picture that each text was given to."""
    image_PE: Tensor
    text_TE: Tensor
    pairs: Pairs


def galleries(model: Embedder, split: str, every_caption: bool) -> list[Gallery]:
    """Those of a split, by name.

    Args:
        every_caption: take all captions that a sample holds, not only its first.
    """
    told, embedded = model.told(split), model.split(split)
    texts = [(row, n) for row, each in enumerate(told) for n in range(len(each.captions) if every_caption else 1)]
    text_TE = embedded.text_NE
    if len(texts) > len(told):
        text_TE = model.texts([told[row].captions[n] for row, n in texts])
    names = sorted({each.gallery for each in told})
    return [gallery(name, told, texts, embedded.image_NE, text_TE) for name in names]


def gallery(
    name: str, told: Sequence[Told], texts: Sequence[tuple[int, int]], image_NE: Tensor, text_TE: Tensor
) -> Gallery:
    """One of them.

    Args:
        texts: (sample, which of its captions) of each row of text_TE.
    """
    own = [place for place, (row, _) in enumerate(texts) if told[row].gallery == name]
    pictures: dict[int, int] = {}
    for place in own:
        row = texts[place][0]
        pictures.setdefault(told[row].image_group, row)
    number = {group: n for n, group in enumerate(pictures)}
    rows_P, chosen = list(pictures.values()), [texts[place] for place in own]
    picture_T = torch.tensor([number[told[row].image_group] for row, _ in chosen])
    return Gallery(
        name=name,
        rows_P=rows_P,
        rows_T=[row for row, _ in chosen],
        texts_T=[told[row].captions[n] for row, n in chosen],
        picture_T=picture_T,
        image_PE=image_NE[rows_P],
        text_TE=text_TE[own],
        pairs=Pairs.of(picture_T, torch.tensor([told[row].text_groups[n] for row, n in chosen])),
    )
