"""Beam search: the few likeliest texts are carried along, and the best that ended is taken.

Definition: a beam of K texts. At each place all continuations of the open texts are ranked by their log-probability,
and as many go on as the beam has places; one that ends keeps its place, so that the beam narrows and is done after K
texts. What is still open at `most_tokens` counts as it stands. The best text has the highest log P / lp(L) of all that
ended, L tokens with the end, where lp(L) = ((5 + L) / 6) ** penalty: equation 14 of Wu et al. 2016 (arXiv 1609.08144),
without their coverage term. With one place this is greedy writing.

Where a contrastive objective learned along, the texts that ended may be ranked by its judgement as well, as CLIP ranked
the many drafts of DALL-E (Ramesh et al. 2021, arXiv 2102.12092): log P / lp(L) + likeness * similarity / temperature.
The beam is then written to its end, since a text that comes late may be the most alike.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings
from mmpretrain.heads.generation.base import Limits, Reader, Task, Written, empty_texts, read_prompt
from mmpretrain.heads.generation.rules import NEVER, allow


@settings
class Beam(Limits):
    """The best of `width` texts that are written side by side."""

    kind: Literal["beam"] = "beam"
    width: Annotated[int, Field(gt=0, le=1024)] = 4
    """Texts in the beam."""
    penalty: Annotated[float, Field(ge=0)] = 0.6
    """Length penalty: 0 ranks by log-probability, which favours short texts; the higher, the longer (Wu et al.: 0.6 to
    0.7)."""
    likeness: Annotated[float, Field(ge=0)] = 0.0
    """What it counts that picture and text are alike to the run's contrastive objective: 1 as much as the words; 0: the
    words alone, and no such objective is needed."""

    def write(self, reader: Reader, task: Task) -> Written:
        found = Ended.of_none(task, self)
        state = State.first(task, self.most_tokens, read_prompt(reader, task))
        for place in range(len(task.prompt), self.most_tokens):
            scores_RV = allow(reader.read(state.last_R), state.tokens_RL[:, :place], self, task.end)
            state, came_from_R = self.advance(state, scores_RV, place, task.end)
            self.take_ended(state, found, place, task.end)
            kept_P = self.worth_going_on(state, found).nonzero()[:, 0]
            if task.in_lockstep:
                kept_P = torch.arange(len(state.picture_P), device=kept_P.device)
            if not len(kept_P):
                break
            leaves = len(kept_P) < len(state.picture_P)
            rows_R = self.open_rows(state, kept_P)
            reader.select(came_from_R[rows_R], kept_P if leaves else None)
            state = state.select(rows_R, kept_P)
        if self.likeness:
            found.score_PK += self.likeness * reader.likeness(found.tokens_PKL)
        return found.ranked()

    def advance(self, state: "State", scores_RV: Tensor, place: int, end: int) -> tuple["State", Tensor]:
        """The `width` best continuations of each picture's open texts, and the rows that they come from."""
        pictures = len(state.picture_P)
        beams = len(state.total_R) // pictures
        # no more of a text's continuations can be among the best of all
        scores_RC, word_RC = scores_RV.topk(min(self.width, scores_RV.shape[1]), dim=1)
        total_PC = (state.total_R[:, None] + scores_RC).view(pictures, -1)
        if total_PC.shape[1] < self.width:  # fewer words than places
            total_PC = F.pad(total_PC, (0, self.width - total_PC.shape[1]), value=NEVER)
        total_PK, chosen_PK = total_PC.topk(self.width, dim=1)
        chosen_PK = chosen_PK.clamp(max=beams * word_RC.shape[1] - 1)
        ranks_K = torch.arange(self.width, device=chosen_PK.device)
        total_PK = total_PK.masked_fill(ranks_K >= self.width - state.ended_P[:, None], NEVER)
        start_P1 = torch.arange(pictures, device=chosen_PK.device)[:, None] * beams
        rows_R = (start_P1 + chosen_PK // word_RC.shape[1]).flatten()
        word_R = word_RC.view(pictures, -1).gather(1, chosen_PK).flatten()
        last_R = word_R.masked_fill(total_PK.flatten() == NEVER, end)
        tokens_RL = state.tokens_RL[rows_R]
        tokens_RL[:, place] = last_R
        return State(tokens_RL, total_PK.flatten(), state.ended_P, state.picture_P, last_R), rows_R

    def take_ended(self, state: "State", found: "Ended", place: int, end: int) -> None:
        """Close what has ended, all at the last place, and keep it."""
        ended_R = (state.last_R == end) | (place + 1 == self.most_tokens)
        ended_PK = (ended_R & (state.total_R > NEVER)).view(len(state.picture_P), self.width)
        row, rank = ended_PK.nonzero(as_tuple=True)
        slot = (state.ended_P[:, None] + ended_PK.cumsum(dim=1) - 1)[row, rank]
        total = state.total_R.view_as(ended_PK)[row, rank]
        tokens = state.tokens_RL[row * self.width + rank]
        found.keep(state.picture_P[row], slot, total / self.length_penalty(place + 1), total, tokens)
        state.ended_P += ended_PK.sum(dim=1)
        state.total_R.masked_fill_(ended_R, NEVER)

    def worth_going_on(self, state: "State", found: "Ended") -> Tensor:
        """Pictures with an open text that could still become the best: its log-probability only falls; bool."""
        open_P = state.total_R.view(len(state.picture_P), self.width).max(dim=1).values
        if self.likeness:
            return open_P > NEVER
        could_P = open_P / self.length_penalty(self.most_tokens)
        return could_P > found.score_PK[state.picture_P].max(dim=1).values

    def length_penalty(self, length: int) -> float:
        return float(((5 + length) / 6) ** self.penalty)

    def open_rows(self, state: "State", kept_P: Tensor) -> Tensor:
        """The rows of some pictures' open texts, as many for each as the picture with most of them has."""
        total_PK = state.total_R.view(-1, self.width)[kept_P]
        count = max(1, int((total_PK > NEVER).sum(dim=1).max()))
        best_PK = total_PK.argsort(dim=1, descending=True, stable=True)[:, :count]
        return (kept_P[:, None] * self.width + best_PK).flatten()


@dataclass
class State:
    """Beams at work, picture by picture."""

    tokens_RL: Tensor
    total_R: Tensor
    """Log-probability of each open text; minus infinity: the place is not used."""
    ended_P: Tensor
    """Texts of each picture that have ended."""
    picture_P: Tensor
    """Which pictures are at work."""
    last_R: Tensor

    @staticmethod
    def first(task: Task, longest: int, last_P: Tensor) -> "State":
        """One text a picture, of which the prompt stands."""
        picture_P = torch.arange(len(task.positions_P), device=task.positions_P.device)
        return State(
            tokens_RL=empty_texts(task, longest),
            total_R=torch.zeros(len(picture_P), dtype=torch.float64, device=picture_P.device),
            ended_P=torch.zeros_like(picture_P),
            picture_P=picture_P,
            last_R=last_P,
        )

    def select(self, rows_R: Tensor, pictures_P: Tensor) -> "State":
        return State(
            self.tokens_RL[rows_R],
            self.total_R[rows_R],
            self.ended_P[pictures_P],
            self.picture_P[pictures_P],
            self.last_R[rows_R],
        )


@dataclass(kw_only=True)
class Ended:
    """The texts of each picture that have ended, in the order in which they did; K places, as the beam has."""

    tokens_PKL: Tensor
    score_PK: Tensor
    """What texts are ranked by; minus infinity: the place is empty."""
    log_probability_PK: Tensor

    @staticmethod
    def of_none(task: Task, beam: Beam) -> "Ended":
        pictures, device = len(task.positions_P), task.positions_P.device
        nothing_PK = torch.full((pictures, beam.width), NEVER, dtype=torch.float64, device=device)
        tokens_PKL = torch.full((pictures, beam.width, beam.most_tokens), task.end, device=device)
        return Ended(tokens_PKL=tokens_PKL, score_PK=nothing_PK, log_probability_PK=nothing_PK.clone())

    def keep(self, picture_E: Tensor, slot_E: Tensor, score_E: Tensor, total_E: Tensor, tokens_EL: Tensor) -> None:
        """Put texts into free places."""
        self.score_PK[picture_E, slot_E] = score_E
        self.log_probability_PK[picture_E, slot_E] = total_E
        self.tokens_PKL[picture_E, slot_E] = tokens_EL

    def ranked(self) -> Written:
        """The texts of each picture, the best first; of equal ones the one that ended first."""
        order_PK = self.score_PK.argsort(dim=1, descending=True, stable=True)
        tokens_PKL = self.tokens_PKL.gather(1, order_PK[:, :, None].expand_as(self.tokens_PKL))
        return Written(tokens_PKL, self.log_probability_PK.gather(1, order_PK))
