"""What can be explained: a similarity, a class, an answer, a match, a word that is written."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.explain.base import Target
from mmpretrain.heads.base import HeadLearner
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.matching import MatchingLearner


def similarity(model: Any, direction_E: Tensor, name: str) -> Target:
    """The cosine of a picture with a text, or the difference of such cosines.

    Args:
        direction_E: what the text tower says; of a difference, the difference of what it says.
    """
    return Target(name=name, score=lambda images_BCHW: model.embed_images(images_BCHW) @ direction_E)


def direction(text_E: Tensor, others_KE: Tensor | None) -> Tensor:
    """What sets a text apart from others: its vector less their mean.

    Any picture is more similar to some texts than to others, whatever it shows; the mean takes out what the model
    finds in all of them. Without others it is the text's own vector, and the score the plain cosine.
    """
    return text_E if others_KE is None or not len(others_KE) else text_E - others_KE.mean(dim=0)


def head_class(
    module: TrainingModule, head: str, place: int, tokens_1L: Tensor, mask_1L: Tensor, name: str = ""
) -> Target:
    """The logit of a class of a head, or of an answer.

    Args:
        place: of the class.
        tokens_1L: of the question, or of the text that the head reads beside the picture.
    """
    learner: Any = next(each for each in module.objectives if isinstance(each, HeadLearner) and each.name == head)

    def score(images_BCHW: Tensor) -> Tensor:
        batch = about(images_BCHW, tokens_1L, mask_1L)
        encoded = module.model(batch, learner.settings.needs)
        logits_BC: Tensor = learner.predict(module.model, batch, encoded)[0]
        return logits_BC[:, place]

    reads = getattr(learner.settings, "reads", "")
    reader = module.model.fusion if reads == "fusion" else None
    return Target(name=name or str(learner.classes[place]), score=score, reader=reader)


def match(
    module: TrainingModule, tokens_1L: Tensor, mask_1L: Tensor, name: str, places: Sequence[int] = (0,)
) -> Target:
    """The log-odds that a text belongs to the picture, by a run that learned matching.

    Args:
        places: tokens whose view of the picture is asked for by methods that look at attention; the head reads the
            first.
    """
    model = module.model
    learner = next(each for each in module.objectives if isinstance(each, MatchingLearner))

    def score(images_BCHW: Tensor) -> Tensor:
        rows = len(images_BCHW)
        image_BND = model.pool(model.image(images_BCHW)[0])
        x_BLD = model.fuse(tokens_1L.expand(rows, -1), mask_1L.expand(rows, -1), image_BND)
        logits_B2 = learner.head(x_BLD[:, 0])
        return logits_B2[:, 1] - logits_B2[:, 0]

    return Target(name=name, score=score, reader=model.fusion, places=tuple(places))


def written(model: Any, tokens_1L: Tensor, mask_1L: Tensor, places: Sequence[int], name: str) -> Target:
    """Log p(word | picture, words before it) of a decoder.

    Args:
        tokens_1L: the text from its start token on.
        places: of the word's tokens in it, one behind the other, none the first of the text.
    """

    def score(images_BCHW: Tensor) -> Tensor:
        rows = len(images_BCHW)
        image_BND = model.pool(model.image(images_BCHW)[0])
        x_BLD = model.decode(tokens_1L.expand(rows, -1), mask_1L.expand(rows, -1), image_BND)
        before = torch.tensor(places, device=x_BLD.device) - 1
        logs_BPV = model.words(x_BLD[:, before]).float().log_softmax(dim=-1)
        said_BP1 = tokens_1L[:, before + 1].expand(rows, -1)[..., None]
        return logs_BPV.gather(2, said_BP1).sum(dim=(1, 2))

    return Target(name=name, score=score, reader=model.decoder, places=tuple(place - 1 for place in places))


def about(images_BCHW: Tensor, tokens_1L: Tensor, mask_1L: Tensor) -> Batch:
    """A text beside each picture."""
    rows = len(images_BCHW)
    numbers_B = torch.zeros(rows, dtype=torch.int64, device=images_BCHW.device)
    return Batch(
        images_BCHW=images_BCHW,
        tokens_BL=tokens_1L.expand(rows, -1),
        mask_BL=mask_1L.expand(rows, -1),
        positions_B=numbers_B,
        image_group_B=numbers_B,
        text_group_B=numbers_B,
        labels_B=numbers_B - 1,
    )
