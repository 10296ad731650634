"""A text about each picture of a batch, by any way of writing."""

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.heads.generation.base import Task, Written
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.reader import PictureReader, QuestionReader
from mmpretrain.heads.generation.sample import Sample
from mmpretrain.objectives.captioning import CaptioningLearner
from mmpretrain.objectives.combine import TrainingModule

Generation = Annotated[Greedy | Beam | Sample, Field(discriminator="kind")]
"""The union of all ways of writing; another one is another file and another name here."""


def write(module: TrainingModule, images_PCHW: Tensor, task: Task, generation: Generation) -> Written:
    """Captions. Hand it to an engine: `engine.forward("ask", write, ...)`."""
    learner = next(each for each in module.objectives if isinstance(each, CaptioningLearner))
    return generation.write(PictureReader(module, learner, images_PCHW, task), task)


def write_answers(module: TrainingModule, batch: Batch, head: str, task: Task, generation: Generation) -> Written:
    """Answers to the questions of a batch, by the head of that name; for an engine as `write`.

    Args:
        task: begins with the end token of the questions.
    """
    model: Any = module.model
    learner: Any = next(each for each in module.objectives if each.name == head)
    image_PND = model.pool(model.image(batch.images_BCHW)[0])
    return generation.write(QuestionReader(model, learner, image_PND, batch.tokens_BL, batch.mask_BL), task)
