"""Pictures, a model of each layout that captions them, and a reader that remembers nothing."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmpretrain.heads.generation.base import Task, Written
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.sample import Sample
from mmpretrain.heads.generation.write import Generation, write
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.captioning import Captioning, CaptioningLearner
from mmpretrain.objectives.combine import TrainingModule
from tests.towers.layouts import CONTEXT, LAYOUTS, SIZE, VOCABULARY

PICTURES, START, MOST = 5, 1, CONTEXT - 1


class Case(NamedTuple):
    module: TrainingModule
    images_PCHW: Tensor
    task: Task

    def write(self, generation: Generation) -> Written:
        return write(self.module, self.images_PCHW, self.task, generation)

    def rows(self, rows_P: Tensor) -> "Case":
        task = Task(start=self.task.start, end=self.task.end, positions_P=self.task.positions_P[rows_P])
        return Case(self.module, self.images_PCHW[rows_P], task)

    def reader(self) -> "Rereader":
        return Rereader(self)


@torch.no_grad()
def captioner(name: str, seen: list[int] | None = None) -> Case:
    """A model of a layout, and an end token that some of its texts come to."""
    torch.manual_seed(3)
    images_PCHW = torch.randint(0, 256, (PICTURES, 3, SIZE, SIZE)).to(torch.uint8)
    images_PCHW = images_PCHW // torch.arange(1, PICTURES + 1)[:, None, None, None]  # not all alike
    model = LAYOUTS[name].build()
    around = Surroundings(model=model, seen_S=None if seen is None else torch.tensor(seen))
    module = TrainingModule(model, [Captioning(words="all" if seen is None else "seen")], around).double().eval()
    positions_P = 100 + torch.arange(PICTURES)
    endless = Case(module, images_PCHW, Task(start=START, end=0, positions_P=positions_P))
    tokens_PL = endless.write(Greedy(most_tokens=MOST)).tokens_PL
    return endless._replace(task=Task(start=START, end=int(tokens_PL[0, 3]), positions_P=positions_P))


class Rereader:
    """Reads every text from its start for each word, as a model without memory has to."""

    def __init__(self, case: Case) -> None:
        self.model = case.module.model
        learner = case.module.objectives[0]
        assert isinstance(learner, CaptioningLearner)
        self.learner = learner
        self.image_PND = self.model.pool(self.model.image(case.images_PCHW)[0])
        self.tokens_RL = torch.empty(len(case.images_PCHW), 0, dtype=torch.int64)
        self.read_rows = 0

    def read(self, tokens_R: Tensor) -> Tensor:
        self.tokens_RL = torch.cat([self.tokens_RL, tokens_R[:, None]], dim=1)
        self.read_rows += len(tokens_R)
        image_RND = self.image_PND.repeat_interleave(len(tokens_R) // len(self.image_PND), dim=0)
        x_RLD = self.model.decode(self.tokens_RL, torch.ones_like(self.tokens_RL, dtype=torch.bool), image_RND)
        return self.learner.log_probabilities(self.model, x_RLD[:, -1])

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        self.tokens_RL = self.tokens_RL[rows_R]
        self.image_PND = self.image_PND if pictures_P is None else self.image_PND[pictures_P]


WAYS: dict[str, Generation] = {
    "greedy": Greedy(most_tokens=MOST),
    "greedy, not too short, no token twice": Greedy(most_tokens=MOST, least_tokens=5, blocked_ngram=1),
    "beam": Beam(most_tokens=MOST, width=3),
    "beam, wider than words": Beam(most_tokens=4, width=VOCABULARY + 3, penalty=1.0),
    "beam, not too short, no pair twice": Beam(most_tokens=MOST, width=4, least_tokens=4, blocked_ngram=2),
    "sample": Sample(most_tokens=MOST, seed=5),
    "sample, few words, cool": Sample(most_tokens=MOST, top_k=6, top_p=0.8, temperature=0.7, blocked_ngram=3),
}
EVERY_LAYOUT = tuple(LAYOUTS)
