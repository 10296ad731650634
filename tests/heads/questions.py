"""Questions of different lengths about pictures, a model of each layout that answers them, and a slow reader."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmpretrain.core.batch import Batch
from mmpretrain.data.labels import Labels
from mmpretrain.heads.answer_writing import AnswerWriting, AnswerWritingLearner
from mmpretrain.heads.generation.base import Task, Written
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import Generation, write_answers
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule
from tests.towers.layouts import CONTEXT, LAYOUTS, SIZE, VOCABULARY

START, END, MOST = 1, VOCABULARY - 1, CONTEXT - 1
QUESTIONS = ([5, 6, 7, 8, 9], [4], [8, 3], [5, 6, 7, 8, 9, 10, 11], [3, 3])
ANSWERS = [f"answer {number}" for number in range(40)]


def tokenize(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Rows of one to four ids, by the number that stands in the text."""
    return padded(
        [[(7 * int(text.split()[1]) + 3 * place) % 21 + 2 for place in range(len(text) % 3 + 1)] for text in texts]
    )


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    whole = [[START, *ids, END] for ids in rows]
    longest = max(map(len, whole)) + 1  # as loaders round up
    tokens_BL = torch.tensor([ids + [0] * (longest - len(ids)) for ids in whole])
    return tokens_BL, torch.arange(longest) < torch.tensor([len(ids) for ids in whole])[:, None]


class Asked(NamedTuple):
    module: TrainingModule
    batch: Batch
    task: Task

    @property
    def learner(self) -> AnswerWritingLearner:
        learner = self.module.objectives[0]
        assert isinstance(learner, AnswerWritingLearner)
        return learner

    def write(self, generation: Generation) -> Written:
        return write_answers(self.module, self.batch, "answer_writing", self.task, generation)

    def rows(self, rows: list[int]) -> "Asked":
        """Some questions, padded as they need it."""
        tokens_BL, mask_BL = padded([QUESTIONS[row] for row in rows])
        positions_B = self.batch.positions_B[rows]
        images_BCHW = self.batch.images_BCHW[rows]
        batch = replace(
            self.batch, images_BCHW=images_BCHW, tokens_BL=tokens_BL, mask_BL=mask_BL, positions_B=positions_B
        )
        return Asked(self.module, batch, replace(self.task, positions_P=positions_B))

    def reader(self) -> "Rereader":
        return Rereader(self)


@torch.no_grad()
def asked(name: str, words: str = "all") -> Asked:
    torch.manual_seed(3)
    rows, positions_B = len(QUESTIONS), 100 + torch.arange(len(QUESTIONS))
    images_BCHW = torch.randint(0, 256, (rows, 3, SIZE, SIZE)).to(torch.uint8)
    images_BCHW = images_BCHW // torch.arange(1, rows + 1)[:, None, None, None]  # not all alike
    model = LAYOUTS[name].build(2 * CONTEXT)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            part.reset_parameters()  # large biases would say one word whatever is asked
    seen_S = torch.tensor([2, 3, 5, 8, 13, 21, END]) if words == "seen" else None
    labels = {"answer_writing": Labels(classes=tuple(ANSWERS))}
    around = Surroundings(model=model, seen_S=seen_S, tokenizer=tokenize, labels=labels)
    module = TrainingModule(model, [AnswerWriting(words=words)], around).double().eval()
    tokens_BL, mask_BL = padded(list(QUESTIONS))
    batch = Batch(
        images_BCHW=images_BCHW,
        tokens_BL=tokens_BL,
        mask_BL=mask_BL,
        positions_B=positions_B,
        image_group_B=positions_B,
        text_group_B=positions_B,
        labels_B=positions_B,
    )
    return Asked(module, batch, Task(start=END, end=END, positions_P=positions_B))


class Rereader:
    """Reads each question with what is written behind it from its start and by itself, for each word."""

    def __init__(self, case: Asked) -> None:
        self.model, self.learner = case.module.model, case.learner
        self.image_PND = self.model.pool(self.model.image(case.batch.images_BCHW)[0])
        rows = zip(case.batch.tokens_BL, case.batch.mask_BL, strict=True)
        self.texts = [tokens_L[mask_L].tolist()[:-1] for tokens_L, mask_L in rows]

    def read(self, tokens_R: Tensor) -> Tensor:
        texts_a_picture = len(tokens_R) // len(self.image_PND)
        found = []
        for row, token in enumerate(tokens_R.tolist()):
            self.texts[row] = [*self.texts[row], token]
            tokens_1L, image_1ND = torch.tensor([self.texts[row]]), self.image_PND[row // texts_a_picture][None]
            x_1LD = self.model.decode(tokens_1L, torch.ones_like(tokens_1L, dtype=torch.bool), image_1ND)
            found.append(self.learner.log_probabilities(self.model, x_1LD[:, -1]))
        return torch.cat(found)

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        self.texts = [self.texts[row] for row in rows_R.tolist()]
        self.image_PND = self.image_PND if pictures_P is None else self.image_PND[pictures_P]

    def likeness(self, tokens_PKL: Tensor) -> Tensor:
        raise NotImplementedError


def greedy_end(case: Asked) -> Task:
    """A task whose end some answers come to, and others not: the fourth word that the first answer holds."""
    return replace(case.task, end=int(case.write(Greedy(most_tokens=MOST)).tokens_PL[0, 3]))
