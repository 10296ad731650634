"""A text tower that teaches another one while that learns."""

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.objectives.words import WordHead
from mmpretrain.towers.text import Replacement, TextTower, Trace


class TextTeacher(nn.Module):
    """A frozen tower in evaluation mode, and what it guesses hidden words by, where it has learned that.

    Args:
        name: of what it was read from, for messages.
        identity: equal for equal weights, so that a run goes on with the teacher that it began with.
        head: between its last block and its matrix of words; None where it never guessed any.
        mask_D: what stands for a hidden word where the vocabulary has no word for it.
        seen_only: it learned to guess only words that its own training texts hold.
    """

    mask_D: Tensor | None

    def __init__(
        self,
        tower: TextTower,
        name: str,
        identity: str = "",
        head: WordHead | None = None,
        mask_D: Tensor | None = None,
        seen_only: bool = False,
    ) -> None:
        super().__init__()
        self.tower = tower
        self.name = name
        self.identity = identity
        self.head = head
        self.seen_only = seen_only
        self.register_buffer("mask_D", mask_D)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def trace(
        self, tokens_BL: Tensor, mask_BL: Tensor, hidden_BL: Tensor | None = None, heads_of: Container[int] = ()
    ) -> Trace:
        """Args: hidden_BL: tokens that are hidden behind its own vector, as `TextTower.trace` has it."""
        if hidden_BL is None:
            return self.tower.trace(tokens_BL, mask_BL, heads_of=heads_of)
        assert self.mask_D is not None
        return self.tower.trace(tokens_BL, mask_BL, Replacement(hidden_BL, self.mask_D), heads_of)

    @torch.no_grad()
    def logits(self, x_ND: Tensor, rows_S: Tensor | None) -> Tensor:
        """Its guess of the word behind each vector; rows_S: ids that logits are wanted of, None: all."""
        assert self.head is not None
        logits_NV: Tensor = self.head(x_ND, rows_S, self.tower.embedding.token)
        return logits_NV


def refuse_teacher(settings: Any, student: TextTower, teacher: TextTeacher) -> None:
    """A teacher that cannot be compared with the student as the settings ask.

    Args:
        settings: of text_distillation.

    Raises:
        ConfigError: names the setting, both sides and the remedy.
    """
    tower, key = teacher.tower, "objectives: text_distillation"
    if tower.causal != student.causal:
        ways = {True: "from left to right (causal)", False: "both ways (bidirectional)"}
        raise ConfigError(
            f"towers.text.kind: {teacher.name} reads {ways[tower.causal]}, and its student {ways[student.causal]}; "
            "take the teacher's kind, or another teacher"
        )
    if settings.cosine and tower.width != student.width:
        raise ConfigError(
            f"{key}.cosine: {teacher.name} is {tower.width} channels wide, its student {student.width}; use hidden, "
            "which maps one to the other, or relations"
        )
    for setting, pairs in (("layers", settings.layers), ("relation_layers", [settings.relation_layers or (0, 0)])):
        deepest = max((layer for _, layer in pairs), default=0)
        if deepest > len(tower.blocks):
            raise ConfigError(f"{key}.{setting}: {teacher.name} has {len(tower.blocks)} layers and no layer {deepest}")
    heads = tower.shape.heads, student.shape.heads
    if heads[0] != heads[1] and settings.attention:
        raise ConfigError(
            f"{key}.attention: {teacher.name} has {heads[0]} heads, its student {heads[1]}; give it as many, or use "
            "relations with relation_heads"
        )
    if heads[0] != heads[1] and settings.relations and settings.relation_heads is None:
        raise ConfigError(
            f"{key}.relation_heads: {teacher.name} has {heads[0]} heads, its student {heads[1]}; say into how many "
            f"both are cut, a divisor of the widths {tower.width} and {student.width}"
        )
    if settings.relations and tower.width % (settings.relation_heads or 1):
        raise ConfigError(
            f"{key}.relation_heads: the {tower.width} channels of {teacher.name} do not divide by "
            f"{settings.relation_heads}"
        )


def refuse_words(words: Any, teacher: TextTeacher) -> None:
    """Guesses that the teacher cannot soften.

    Args:
        words: the objective masked_language.

    Raises:
        ConfigError: names the setting and the remedy.
    """
    key = "objectives: text_distillation.logits"
    if teacher.head is None or (words.mask_D is not None and teacher.mask_D is None):
        raise ConfigError(f"{key}: {teacher.name} has not learned to guess hidden words; set it to 0")
    if teacher.seen_only and words.seen_S is None:
        raise ConfigError(
            f"{key}: {teacher.name} learned to guess only words that its texts hold; set words=seen of masked_language"
        )
