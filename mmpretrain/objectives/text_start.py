"""A student that begins as some blocks of its teacher, as DistilBERT does (Sanh et al. 2019, arXiv 1910.01108)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.objectives.masked_language import MaskedLanguageLearner
from mmpretrain.objectives.text_teacher import TextTeacher
from mmpretrain.towers.text import TextTower

KEY = "objectives: text_distillation.start"
BLOCKS = "blocks."
POSITIONS = "embedding.position_LD"


def refuse_start(start: Sequence[int], student: TextTower, teacher: TextTeacher) -> None:
    """Raises ConfigError: the student cannot begin as these blocks; names both sides and the remedy."""
    tower = teacher.tower
    if max(start) > len(tower.blocks):
        raise ConfigError(f"{KEY}: {teacher.name} has {len(tower.blocks)} layers and no layer {max(start)}")
    if len(start) != len(student.blocks):
        raise ConfigError(
            f"{KEY}: names {len(start)} blocks, and the student has {len(student.blocks)}; set towers.text.layers to "
            f"{len(start)}"
        )
    if tower.shape.heads != student.shape.heads:
        raise ConfigError(
            f"{KEY}: {teacher.name} has {tower.shape.heads} heads, its student {student.shape.heads}; set "
            f"towers.text.heads to {tower.shape.heads}, or leave start out"
        )
    theirs = dict(tower.named_parameters())
    for name, own, foreign in pairs(student, start):
        found = theirs.get(foreign)
        if found is None:
            raise ConfigError(f"{KEY}: {teacher.name} has no {foreign}; give towers.text its kind of tower")
        rows = slice(None, len(own)) if name == POSITIONS else slice(None)
        if found[rows].shape != own.shape:
            raise ConfigError(
                f"{KEY}: {name} is {list(own.shape)} in the student and {list(found.shape)} in {teacher.name}; give "
                "towers.text its width, or leave start out"
            )


def pairs(student: TextTower, start: Sequence[int]) -> Iterator[tuple[str, nn.Parameter, str]]:
    """Each parameter of the student, and the name of the teacher's that it begins as."""
    for name, own in student.named_parameters():
        if name.startswith(BLOCKS):
            _, number, rest = name.split(".", 2)
            yield name, own, f"{BLOCKS}{start[int(number)] - 1}.{rest}"
        else:
            yield name, own, name


@torch.no_grad()
def begin_as(
    student: TextTower, teacher: TextTeacher, start: Sequence[int], words: MaskedLanguageLearner | None
) -> list[nn.Parameter]:
    """Copy the teacher's weights, of a longer context the first places.

    Args:
        words: guesses hidden words by a head that the teacher has as well; None: nobody guesses.
    """
    theirs: dict[str, Tensor] = dict(teacher.tower.named_parameters())
    taken = []
    for _, own, foreign in pairs(student, start):
        own.copy_(theirs[foreign][: len(own)])
        taken.append(own)
    if words is not None and teacher.head is not None:
        words.head.load_state_dict(teacher.head.state_dict())
        taken += words.head.parameters()
    if words is not None and words.mask_D is not None and teacher.mask_D is not None:
        words.mask_D.copy_(teacher.mask_D)
        taken.append(words.mask_D)
    return taken
