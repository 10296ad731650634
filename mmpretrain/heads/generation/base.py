"""What all ways of writing have in common: their limits, what they are asked, what they give, whom they ask.

Suffixes: P pictures, R texts at work (one for a picture, or a beam of them), L tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from mmpretrain.core.settings import settings


@settings
class Limits:
    """What a text may be, however it is found."""

    most_tokens: Annotated[int, Field(gt=1)] = 24
    """Longest text, its end token included; never more than the context of the run."""
    least_tokens: Annotated[int, Field(ge=0)] = 1
    """Tokens that stand in front of the end token at least; of 0 the best text of a beam may be an empty one."""
    blocked_ngram: Annotated[int, Field(ge=0)] = 0
    """No row of so many tokens is written twice in a text; 0: any may."""

    prompt: str = ""
    """Words that every text begins with, as `a picture of`; they count as its tokens. Empty: none."""

    def __post_init__(self) -> None:
        if self.least_tokens >= self.most_tokens:
            raise ValueError(
                f"least_tokens: {self.least_tokens} tokens and an end do not fit into most_tokens={self.most_tokens}"
            )


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be written."""

    start: int
    """Id of the token that is read before anything is written: in front of a caption, at the end of a question."""
    end: int
    """Id of the token that ends one."""
    positions_P: Tensor
    """int64, keys what is drawn for a picture: the same wherever it stands in whatever batch."""
    prompt: tuple[int, ...] = ()
    """Ids that every text begins with, behind the start token; fewer than `most_tokens`."""
    in_lockstep: bool = False
    """Take `most_tokens` steps over all rows, whatever is written: under ZeRO-3 all ranks have to walk the same way.
    False: texts that have ended are read no more, and a beam ends with its best text, full or not."""


class Written(NamedTuple):
    """Texts for each picture, the best first: K of a beam, else one."""

    tokens_PKL: Tensor
    """int64, most_tokens of them without the start token, end tokens behind the text."""
    log_probability_PK: Tensor
    """fp64, of the text behind the prompt as the model says it, end included where it was reached; rules and
    temperature left out. Minus infinity: there are fewer texts."""

    @property
    def tokens_PL(self) -> Tensor:
        """The best text of each picture."""
        return self.tokens_PKL[:, 0]

    @property
    def log_probability_P(self) -> Tensor:
        """Its log-probability."""
        return self.log_probability_PK[:, 0]


class Reader(Protocol):
    """Whom the ways of writing ask; remembers what it has read."""

    def read(self, tokens_R: Tensor) -> Tensor:
        """Log-probabilities of the word behind the next token of each text, at least fp32, R x V."""

    def select(self, rows_R: Tensor, pictures_P: Tensor | None = None) -> None:
        """Go on with these texts, and where some pictures leave with these pictures."""

    def likeness(self, tokens_PKL: Tensor) -> Tensor:
        """How alike a contrastive objective finds K texts and each picture of the start, P x K in its own scale."""


def read_prompt(reader: Reader, task: Task) -> Tensor:
    """Let the reader look at the start and the prompt; returns what it has to read next for each picture."""
    last_P = torch.full_like(task.positions_P, task.start)
    for token in task.prompt:
        reader.read(last_P)
        last_P = torch.full_like(last_P, token)
    return last_P


def empty_texts(task: Task, longest: int) -> Tensor:
    """tokens_PL: the prompt, and end tokens behind it."""
    tokens_PL = task.positions_P.new_full((len(task.positions_P), longest), task.end)
    tokens_PL[:, : len(task.prompt)] = tokens_PL.new_tensor(task.prompt)
    return tokens_PL
