"""A text about each picture of a batch, by any way of writing."""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmpretrain.heads.generation.base import Task, Written
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.sample import Sample
from mmpretrain.objectives.captioning import CaptioningLearner
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.pairs import PairLearner

Generation = Annotated[Greedy | Beam | Sample, Field(discriminator="kind")]
"""The union of all ways of writing; another one is another file and another name here."""


def write(module: TrainingModule, images_PCHW: Tensor, task: Task, generation: Generation) -> Written:
    """The texts. Hand it to an engine: `engine.forward("ask", write, ...)`."""
    return generation.write(PictureReader(module, images_PCHW, task), task)


class PictureReader:
    """A decoder that looks at pictures and remembers what is written about them."""

    def __init__(self, module: TrainingModule, images_PCHW: Tensor, task: Task) -> None:
        self._module = module
        self._model: Any = module.model
        self._learner = next(each for each in module.objectives if isinstance(each, CaptioningLearner))
        self._task = task
        image_PND, self._image_PD = self._model.image(images_PCHW)
        self._image_PND = self._model.pool(image_PND)
        self._memory = self._model.remember()

    def read(self, tokens_R: Tensor) -> Tensor:
        x_R1D = self._model.read_on(tokens_R[:, None], self._image_PND, self._memory)
        return self._learner.log_probabilities(self._model, x_R1D[:, -1])

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        self._memory.select(rows_R, pictures_P)

    def likeness(self, tokens_PKL: Tensor) -> Tensor:
        pairs = next(each for each in self._module.objectives if isinstance(each, PairLearner))
        tokens_RL = tokens_PKL.flatten(0, 1)
        ends_RL = tokens_RL == self._task.end
        # up to the end token, and with it
        mask_RL = F.pad(ends_RL.cumsum(dim=1) - ends_RL.long() == 0, (1, 0), value=True)
        tokens_RL = F.pad(tokens_RL, (1, 0), value=self._task.start)
        text_PKE = self._model.embed_texts(tokens_RL, mask_RL).unflatten(0, tokens_PKL.shape[:2])
        image_PE = self._model.project(self._image_PD)
        return pairs.scale() * torch.einsum("pe,pke->pk", image_PE, text_PKE)
