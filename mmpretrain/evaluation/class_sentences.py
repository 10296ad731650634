"""What is said of each class: sentences from templates, by the card, by the settings, or as papers on ImageNet have it.

Suffixes: C classes, E embedding.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import OfSplit
from mmpretrain.evaluation.features import Embedder

PLACES = ("{}", "{c}")
"""What stands for the class in a template."""


@settings
class SaysClasses(OfSplit):
    """What evaluators share that put classes into words."""

    classes: list[str] | Literal["openclip:imagenet"] | None = None
    """What the classes of the card are called, in its order; openclip:imagenet: as open_clip names ImageNet's 1,000.
    None: as the card says."""
    classes_file: str | None = None
    """A text file with the same, a line each."""
    templates: list[str] | Literal["openclip:imagenet", "openclip:simple"] | None = None
    """Sentences in which {} stands for the class; openclip:imagenet: the 80 of CLIP, openclip:simple: 7 of them. None:
    those of the card."""
    templates_file: str | None = None
    """A text file with the same, a line each."""

    def __post_init__(self) -> None:
        for name in ("classes", "templates"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{name}: stands here and in {name}_file; leave one out")
        for template in self.templates if isinstance(self.templates, list) else []:
            if not any(place in template for place in PLACES):
                raise ValueError(f"templates: {template!r} has no {{}} where the class is to stand")


class Saying:
    """The words of some settings, files read.

    Raises:
        ConfigError: a file is missing or empty, or a template of it has no place for the class.
    """

    def __init__(self, settings: SaysClasses) -> None:
        self._names = listed(settings.classes, settings.classes_file, open_clip_classes)
        self._templates = listed(settings.templates, settings.templates_file, open_clip_templates)
        for template in self._templates or []:
            if not any(place in template for place in PLACES):
                raise ConfigError(f"{settings.templates_file}: {template!r} has no {{}} where the class is to stand")

    def names(self, dataset: str, classes: Sequence[str]) -> list[str]:
        """What each class of a card is called.

        Raises:
            ConfigError: these are not as many.
        """
        names = list(classes) if self._names is None else self._names
        if len(names) != len(classes):
            raise ConfigError(
                f"evaluation: {len(names):,} classes are named, and the card of {dataset} has {len(classes):,}; name "
                "each of them, in its order"
            )
        return names

    def sentences(
        self, dataset: str, classes: Sequence[str], descriptions: Sequence[Sequence[str]], templates: Sequence[str]
    ) -> list[list[str]]:
        """For each class every template with every description of it; a class that is named has no other one."""
        names = self.names(dataset, classes)
        spoken = descriptions if self._names is None else [[name] for name in names]
        return [[fill(template, text) for text in own for template in self._templates or templates] for own in spoken]


def listed(given: list[str] | str | None, file: str | None, named: Callable[[str], list[str]]) -> list[str] | None:
    """A list as it stands, one by its name, or the lines of a file.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    if file is not None:
        try:
            lines = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read as text: {error}") from None
        if not any(lines):
            raise ConfigError(f"{file}: holds no line")
        return [line for line in lines if line]
    return named(given) if isinstance(given, str) else given


def open_clip_classes(name: str) -> list[str]:
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def open_clip_templates(name: str) -> list[str]:
    from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    found = SIMPLE_IMAGENET_TEMPLATES if name == "openclip:simple" else OPENAI_IMAGENET_TEMPLATES
    return [template("{}") for template in found]


def fill(template: str, text: str) -> str:
    for place in PLACES:
        template = template.replace(place, text)
    return template


def class_embeddings(model: Embedder, sentences: Sequence[Sequence[str]]) -> Tensor:
    """class_CE of unit length: for each class the mean over its sentences."""
    text_TE = model.texts([sentence for of_class in sentences for sentence in of_class])
    by_class = text_TE.split([len(of_class) for of_class in sentences])
    return F.normalize(torch.stack([part.mean(dim=0) for part in by_class]), dim=-1)
