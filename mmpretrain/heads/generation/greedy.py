"""Greedy writing: the likeliest next word, again and again."""

from typing import Literal

from mmpretrain.core.settings import settings
from mmpretrain.heads.generation.base import Limits, Reader, Task, Written
from mmpretrain.heads.generation.single import write_single


@settings
class Greedy(Limits):
    """The likeliest word at each place; the text as a whole need not be the likeliest."""

    kind: Literal["greedy"] = "greedy"

    def write(self, reader: Reader, task: Task) -> Written:
        return write_single(reader, task, self, lambda scores_RV, positions_R, place: scores_RV.argmax(dim=1))
