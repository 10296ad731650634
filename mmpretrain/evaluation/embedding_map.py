"""Where pictures and texts lie in the space that they share, seen from its two widest directions.

Suffixes: P pictures, T texts, E embedding, 2 directions.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mmpretrain.data.told import Told
from mmpretrain.evaluation.galleries import Gallery
from mmpretrain.evaluation.shown import spread

PICTURES = 400
"""On a map, each with one of its texts; of larger splits as many at equal distances."""
THUMBNAILS = 56
LACKING = 'No embedding map: it needs scikit-learn; pip install -e ".[eval]".'
DIGITS = 4


def can_be_drawn() -> bool:
    """Whether scikit-learn is installed, which is an extra."""
    return importlib.util.find_spec("sklearn") is not None


def embedding_map(searched: Sequence[Gallery], told: Sequence[Told], classes: Sequence[str]) -> dict[str, Any]:
    """Two coordinates for each picture and text, and what the report needs to draw them.

    Both kinds are centred on their own mean first: the two lie apart in every contrastive space (Liang et al. 2022,
    "Mind the Gap"), and the widest direction would show nothing else. How far apart is told as `gap`.
    """
    chosen = chosen_of(searched)
    image_PE = np.stack([gallery.image_PE[place].double().numpy() for gallery, place in chosen])
    texts = first_texts(chosen)
    text_TE = np.stack([gallery.text_TE[place].double().numpy() for gallery, place in texts])
    image_P2, text_T2, explained = principal(image_PE, text_TE)
    thumbnails = set(apart(image_P2, THUMBNAILS))
    pictures = [
        {
            **point(told[gallery.rows_P[place]], at_2, classes),
            **({"row": gallery.rows_P[place]} if number in thumbnails else {}),
        }
        for number, ((gallery, place), at_2) in enumerate(zip(chosen, image_P2, strict=True))
    ]
    words = [
        {**point(told[gallery.rows_T[place]], at_2, classes), "caption": gallery.texts_T[place]}
        for (gallery, place), at_2 in zip(texts, text_T2, strict=True)
    ]
    gap = float(np.linalg.norm(image_PE.mean(axis=0) - text_TE.mean(axis=0)))
    pairs = sum(len(gallery.rows_P) for gallery in searched)
    return {"explained": explained, "gap": round(gap, DIGITS), "of": pairs, "pictures": pictures, "texts": words}


def chosen_of(searched: Sequence[Gallery]) -> list[tuple[Gallery, int]]:
    """Pictures at equal distances over all galleries, each by its gallery and its place there."""
    every = [(gallery, place) for gallery in searched for place in range(len(gallery.rows_P))]
    return [every[number] for number in spread(list(range(len(every))), PICTURES)]


def first_texts(chosen: Sequence[tuple[Gallery, int]]) -> list[tuple[Gallery, int]]:
    """The first text that was given to each picture; equal texts once."""
    found: dict[str, tuple[Gallery, int]] = {}
    first: dict[str, dict[int, int]] = {}
    for gallery, picture in chosen:
        if gallery.name not in first:
            first[gallery.name] = first_of_each(gallery.picture_T)
        place = first[gallery.name][picture]
        found.setdefault(gallery.texts_T[place], (gallery, place))
    return list(found.values())


def first_of_each(picture_T: Tensor) -> dict[int, int]:
    """The first place of each value."""
    places: dict[int, int] = {}
    for place, picture in enumerate(picture_T.tolist()):
        places.setdefault(picture, place)
    return places


def principal(image_PE: np.ndarray, text_TE: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Coordinates of pictures and texts, and the share of their variance that each direction holds.

    A direction may point either way: here its largest part is positive, so that a map of the same vectors is the same.
    """
    from sklearn.decomposition import PCA

    centred = [each - each.mean(axis=0) for each in (image_PE, text_TE)]
    both = np.nan_to_num(np.concatenate(centred))
    if min(both.shape) < 2 or not both.any():
        flat = np.zeros((len(both), 2))
        return flat[: len(image_PE)], flat[len(image_PE) :], [0.0, 0.0]
    found = PCA(2, svd_solver="full").fit(both)
    directions_2E = found.components_
    largest_2 = np.abs(directions_2E).argmax(axis=1)
    signs_2 = np.sign(directions_2E[np.arange(2), largest_2])
    at = found.transform(both) * signs_2
    shares = [round(float(share), DIGITS) for share in found.explained_variance_ratio_]
    return at[: len(image_PE)], at[len(image_PE) :], shares


def apart(at_P2: np.ndarray, count: int) -> list[int]:
    """Points that are far from each other: each next one is the farthest from all before it."""
    if len(at_P2) <= count:
        return list(range(len(at_P2)))
    found = [0]
    nearest_P = np.linalg.norm(at_P2 - at_P2[0], axis=1)
    while len(found) < count:
        found.append(int(nearest_P.argmax()))
        nearest_P = np.minimum(nearest_P, np.linalg.norm(at_P2 - at_P2[found[-1]], axis=1))
    return found


def point(sample: Told, at_2: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """One picture or text: where it lies, and what colours it."""
    x, y = (round(float(value), DIGITS) for value in at_2)
    label = sample.label if sample.label >= 0 else (sample.labels[0] if len(sample.labels) == 1 else -1)
    known = {"class": classes[label]} if 0 <= label < len(classes) else {}
    return {"x": x, "y": y, "key": sample.key, "caption": sample.caption, "gallery": sample.gallery, **known}
