"""Decoders as ways of writing ask them: of a picture, and of a question about one."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.heads.generation.base import Task
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.pairs import PairLearner
from mmpretrain.objectives.words import WordLearner


class DecoderReader:
    """A decoder that looks at pictures and remembers what is written about them.

    Args:
        learner: whose words it predicts.
        image_PND: image tokens as the decoder sees them.
    """

    def __init__(self, model: Any, learner: WordLearner, image_PND: Tensor) -> None:
        self._model = model
        self._learner = learner
        self._image_PND = image_PND
        self._memory = model.remember()

    def read(self, tokens_R: Tensor) -> Tensor:
        x_R1D = self._model.read_on(tokens_R[:, None], self._image_PND, self._memory)
        return self._learner.log_probabilities(self._model, x_R1D[:, -1])

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        self._memory.select(rows_R, pictures_P)

    def likeness(self, tokens_PKL: Tensor) -> Tensor:
        raise NotImplementedError  # of captions alone, see recipes/combinations


class PictureReader(DecoderReader):
    """One that begins with nothing but the picture."""

    def __init__(self, module: TrainingModule, learner: WordLearner, images_PCHW: Tensor, task: Task) -> None:
        self._module: Any = module
        self._task = task
        image_PND, self._image_PD = self._module.model.image(images_PCHW)
        super().__init__(module.model, learner, self._module.model.pool(image_PND))

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


class QuestionReader(DecoderReader):
    """One that has read a question about each picture, all but its end token, which is read next.

    Args:
        tokens_PL: with start and end; padding stands behind, and nobody sees it.
    """

    def __init__(self, model: Any, learner: WordLearner, image_PND: Tensor, tokens_PL: Tensor, mask_PL: Tensor) -> None:
        super().__init__(model, learner, image_PND)
        # a token is followed by another one, or it is the last
        model.read_on(tokens_PL[:, :-1], image_PND, self._memory, mask_PL[:, 1:])

    def likelihood(self, tokens_PKL: Tensor, mask_PKL: Tensor) -> Tensor:
        """Log-probability of K texts behind what was read of each picture, without their first token; fp64, P x K.

        What is remembered stays as it is.
        """
        pictures, texts, length = tokens_PKL.shape
        rows_R = torch.arange(pictures, device=tokens_PKL.device).repeat_interleave(texts)
        tokens_RL, mask_RL = tokens_PKL.flatten(0, 1), mask_PKL.flatten(0, 1)
        if length == 1:
            return tokens_PKL.new_zeros(pictures, texts, dtype=torch.float64)
        memory = self._memory.fork(rows_R)
        x_RLD = self._model.read_on(tokens_RL[:, :-1], self._image_PND, memory, mask_RL[:, 1:])
        words_NV = self._learner.log_probabilities(self._model, x_RLD[mask_RL[:, 1:]])
        found_RL = torch.zeros(len(tokens_RL), length - 1, dtype=torch.float64, device=tokens_RL.device)
        found_RL[mask_RL[:, 1:]] = words_NV.gather(1, tokens_RL[:, 1:][mask_RL[:, 1:]][:, None])[:, 0].double()
        return found_RL.sum(dim=1).view(pictures, texts)
