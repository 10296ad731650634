"""What travels: a batch of pairs, the features of its pairs, and an objective's share of the loss.

Suffixes: B batch, C H W image, L text length, N image tokens, D width, E embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Fault(NamedTuple):
    """A sample that could not be used, and the position in the order that another one took over."""

    position: int
    attempt: int
    """0 for the sample that the order gives, 1 for its first reserve, and so on."""
    dataset: str
    shard: str
    key: str
    offset: int
    """Byte of the sample's first member in the shard."""
    reason: str
    """Class of fault in snake_case, such as damaged_image."""
    detail: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pairs of pictures and texts, one row each.

    Two rows are positives of each other when either group is equal: the same picture under several captions,
    or the same text for several pictures.
    """

    images_BCHW: Tensor
    """uint8, RGB; the image tower normalises, so that little travels between processes. B x 3 x 0 x 0 where texts
    stand alone."""
    tokens_BL: Tensor
    """int64, padded to the longest text of the batch, rounded up."""
    mask_BL: Tensor
    """bool, True on tokens, False on padding."""
    positions_B: Tensor
    """int64, place in the endless order; keys all randomness of a row."""
    image_group_B: Tensor
    """int64, equal for equal pictures."""
    text_group_B: Tensor
    """int64, equal for texts that mean the same."""
    labels_B: Tensor
    """int64, class of the row, -1 where it has none."""
    keys: Sequence[str] = field(default_factory=tuple)
    """Sample keys, for messages and reports."""
    galleries: Sequence[str] = field(default_factory=tuple)
    """The card's gallery of each row, for evaluation."""
    source_B: Tensor | None = None
    """int64, which dataset of a mixture a row comes from; None where there is one."""
    pictured_B: Tensor | None = None
    """bool, whether a row has a picture, in a mixture with texts alone; None: all have one, or none has."""
    views_BVCHW: Tensor | None = None
    """uint8, further random views of each picture, where an objective asks for them."""
    image_BD: Tensor | None = None
    """What a frozen image tower pools of each picture, where it was computed before; images_BCHW then has no pixels."""
    text_BD: Tensor | None = None
    """The same of a frozen text tower."""
    teacher_image_BT: Tensor | None = None
    """What a teacher says of each picture, where an objective asks; T is its width."""
    teacher_text_BT: Tensor | None = None
    """The same of each text."""
    next_tokens_BL: Tensor | None = None
    """int64, the passage that follows the text, where the card names one; padded like tokens_BL."""
    next_mask_BL: Tensor | None = None
    """bool, True on the tokens of that passage."""
    label_sets: Sequence[Sequence[int]] = field(default_factory=tuple)
    """All classes of each row, where the card says that a picture may have several."""
    answer_tokens_BL: Tensor | None = None
    """int64, one of the answers to each text, where the card names some; padded like tokens_BL."""
    answer_mask_BL: Tensor | None = None
    """bool, True on the tokens of that answer."""
    masks_BHW: Tensor | None = None
    """uint8, the class of each pixel of images_BCHW, 255 where none counts; None where the card names no masks."""
    answers: Sequence[Sequence[str]] = field(default_factory=tuple)
    """What was answered to each row's text, a question, by one or by several; empty where the card names no answers."""
    question_types: Sequence[str] = field(default_factory=tuple)
    """The kind of each question, where the card names one."""
    faults: Sequence[Fault] = field(default_factory=tuple)
    """Samples that others stand in for."""

    def __len__(self) -> int:
        return len(self.positions_B)

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`; pinned memory moves while the processor goes on."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU can read while the processor goes on."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: change(v) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


# Tuples, because DeepSpeed looks for tensors in tuples, lists and dictionaries only: what it does not see in a
# module's output does not trigger its hooks.


class Features(NamedTuple):
    """What the towers say of a batch, in fp32 and of unit length, with the groups that pair its rows."""

    image_BE: Tensor
    text_BE: Tensor
    image_group_B: Tensor
    text_group_B: Tensor
    source_B: Tensor
    """int64, which dataset of a mixture a row comes from."""
    views: tuple[Tensor, ...] = ()
    """Further vectors of the same pictures, each B x E."""
    teacher: tuple[Tensor, ...] = ()
    """A teacher's vectors of pictures and texts, each B x T; no gradient flows through them."""

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """What a gradient flows through."""
        return (self.image_BE, self.text_BE, *self.views)

    def with_vectors(self, vectors: Sequence[Tensor]) -> "Features":
        """The same rows with other vectors, in the order of `vectors`."""
        return self._replace(image_BE=vectors[0], text_BE=vectors[1], views=tuple(vectors[2:]))

    @staticmethod
    def join(parts: Sequence["Features"]) -> "Features":
        """The features of several micro-batches as one."""
        columns = [torch.cat(tensors) for tensors in zip(*(part[:5] for part in parts), strict=True)]
        views = tuple(torch.cat(tensors) for tensors in zip(*(part.views for part in parts), strict=True))
        teacher = tuple(torch.cat(tensors) for tensors in zip(*(part.teacher for part in parts), strict=True))
        return Features(columns[0], columns[1], columns[2], columns[3], columns[4], views, teacher)


class Encoded(NamedTuple):
    """What the towers say of a micro-batch: each ran once, and all objectives share it."""

    features: Features
    """Of width 0 where no objective asks for them."""
    image_BND: Tensor
    """Image tokens; N is 0 where no objective asks for them."""
    text_BLD: Tensor
    """Text tokens of the text as it is; L is 0 where no objective asks for them."""
    image_BD: Tensor | None = None
    """What the image tower pools; None where nobody asks it."""
    text_BD: Tensor | None = None
    """What the text tower pools; None where nobody asks it."""
    image_maps: tuple[Tensor, ...] = ()
    """Maps of the image tower from the finest scale on, each B x C x H x W, where an objective asks for them."""
    pair_BLD: Tensor | None = None
    """Text tokens of pairs of passages with words hidden, where an objective hides some in them."""


class Shares(NamedTuple):
    """This rank's part of the full-batch loss: parts over micro-batches and ranks add up to the whole."""

    total: Tensor
    """Scalar with a graph: the weighted sum over objectives."""
    metrics: dict[str, Tensor]
    """Detached scalars that also add up, such as each objective's own share."""

    def plus(self, other: "Shares") -> "Shares":
        """The sum of two parts; a metric of one alone stays as it is."""
        metrics = dict(self.metrics)
        for name, value in other.metrics.items():
            metrics[name] = metrics[name] + value if name in metrics else value
        return Shares(total=self.total + other.total, metrics=metrics)
