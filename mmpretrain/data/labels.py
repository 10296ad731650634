"""What the labels of a dataset mean: names in the order of their numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names that a head is built for, and that stay with its weights."""

    classes: tuple[str, ...] = ()
    """Of pictures, or answers to choose from."""
    several: bool = False
    """A picture may have several classes, or none."""
    mask_classes: tuple[str, ...] = ()
    """Of pixels."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(kept: dict[str, Any]) -> "Labels":
        return Labels(classes=tuple(kept["classes"]), several=kept["several"], mask_classes=tuple(kept["mask_classes"]))

    @staticmethod
    def of(datasets: Sequence[Dataset], setting: str) -> "Labels":
        """What the datasets agree on.

        Args:
            setting: the key that asked, for the message.

        Raises:
            ConfigError: they do not; names two that differ.
        """
        first, *others = datasets
        for other in others:
            if of_card(other) != of_card(first):
                raise ConfigError(
                    f"{setting}: {first.folder} and {other.folder} have other classes; name one of them in "
                    f"{setting}.sources, and give the other a head of its own"
                )
        return of_card(first)


def of_card(dataset: Dataset) -> Labels:
    card = dataset.card
    return Labels(classes=tuple(card.classes), several=bool(card.labels), mask_classes=tuple(card.mask_classes))
