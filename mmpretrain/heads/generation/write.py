"""A text about each picture of a batch, by any way of writing."""

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from mmpretrain.heads.generation.base import Task, Written
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.sample import Sample
from mmpretrain.objectives.captioning import CaptioningLearner
from mmpretrain.objectives.combine import TrainingModule

Generation = Annotated[Greedy | Beam | Sample, Field(discriminator="kind")]
"""The union of all ways of writing; another one is another file and another name here."""


def write(module: TrainingModule, images_PCHW: Tensor, task: Task, generation: Generation) -> Written:
    """The texts. Hand it to an engine: `engine.forward("ask", write, ...)`."""
    learner = next(each for each in module.objectives if isinstance(each, CaptioningLearner))
    model = module.model
    return generation.write(PictureReader(model, learner, model.pool(model.image(images_PCHW)[0])), task)


class PictureReader:
    """A decoder that looks at pictures and remembers what is written about them."""

    def __init__(self, model: Any, learner: CaptioningLearner, image_PND: Tensor) -> None:
        self._model = model
        self._learner = learner
        self._image_PND = image_PND
        self._memory = model.remember()

    def read(self, tokens_R: Tensor) -> Tensor:
        x_R1D = self._model.read_on(tokens_R[:, None], self._image_PND, self._memory)
        return self._learner.log_probabilities(self._model, x_R1D[:, -1])

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        self._memory.select(rows_R, pictures_P)
