"""What of a head is to be explained: an answer to a question, or a class."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.explain.base import Target
from mmpretrain.explain.targets import head_class
from mmpretrain.recipes.alone import Alone


def ask_head(alone: Alone, image_CHW: Tensor, question: str, answer: str, label: str | None, head: str) -> Target:
    """The logit of an answer or a class; where none is named, of the likeliest.

    Raises:
        ConfigError: no such head, answer or class; names those that there are.
    """
    module: Any = alone.engine.module
    kind, wanted = ("question_answering", answer) if question else ("classification", label or "")
    learner = head_of({each.name: each for each in module.objectives if _kind(each) == kind}, kind, head)
    rows = alone.tokenizer([question])
    places = range(len(learner.classes))
    every = [head_class(module, learner.name, place, *rows) for place in places]
    if wanted:
        chosen = place_of(wanted, learner.classes, "--answer" if question else "--label")
    else:
        with torch.no_grad():
            chosen = max(places, key=lambda place: float(every[place].score(image_CHW[None])[0]))
    name = f"{question} {learner.classes[chosen]}".strip()
    return head_class(module, learner.name, chosen, *rows, name=name)


def _kind(objective: Any) -> str:
    return str(getattr(objective.settings, "kind", "")) if hasattr(objective, "settings") else ""


def head_of(known: Mapping[str, Any], kind: str, name: str) -> Any:
    """Raises ConfigError: there is none, or several and none is named."""
    if not known:
        raise ConfigError(f"the run has no head of the kind {kind}: it cannot be asked for this; use --text")
    if name and name not in known:
        raise ConfigError(f"--head: there is none called {name!r}{did_you_mean(name, known)}")
    if not name and len(known) > 1:
        raise ConfigError(f"--head: there are several of the kind {kind}; name one of {', '.join(known)}")
    return known[name or next(iter(known))]


def place_of(wanted: str, classes: Sequence[str], option: str) -> int:
    """Raises ConfigError: the head does not know it."""
    if wanted not in classes:
        raise ConfigError(f"{option}: the head does not know {wanted!r}{did_you_mean(wanted, classes)}")
    return list(classes).index(wanted)
