"""Distillation of a text tower by a teacher that reads the same texts beside it."""

from collections.abc import Iterable, Set
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmpretrain.core.batch import Batch, Encoded
from mmpretrain.core.precision import at_least_fp32
from mmpretrain.core.settings import settings
from mmpretrain.objectives import imitation
from mmpretrain.objectives.base import Learner, Objective, Surroundings, Weight
from mmpretrain.objectives.masked_language import MaskedLanguageLearner
from mmpretrain.objectives.text_start import begin_as, refuse_start
from mmpretrain.objectives.text_teacher import TextTeacher, refuse_teacher, refuse_words
from mmpretrain.towers.text import TextTower, Trace
from mmpretrain.towers.transformer import Heads

Layer = Annotated[int, Field(ge=1)]
State = Annotated[int, Field(ge=0)]
Compared = Literal["query_query", "key_key", "value_value", "query_key"]
SIDES = {"query_query": (0, 0), "key_key": (1, 1), "value_value": (2, 2), "query_key": (0, 1)}
"""Places in `Heads` of what is compared."""
TERMS = ("logits", "cosine", "hidden", "attention", "relations")


@settings
class TextDistillation(Objective):
    """A frozen text tower teaches the run's own, term by term: what it guesses (DistilBERT, Sanh et al. 2019, arXiv
    1910.01108), its hidden states and attention (TinyBERT, Jiao et al. 2020, arXiv 1909.10351), or how its tokens
    relate (MiniLM, Wang et al. 2020, arXiv 2002.10957; MiniLMv2, Wang et al. 2021, arXiv 2012.15828).

    Both read the same tokens: their tokenizers are equal. With `logits` these are texts with words hidden, as
    masked_language hides them; else texts as they are.
    """

    kind: Literal["text_distillation"] = "text_distillation"
    teacher: str
    """A run folder, whose newest checkpoint teaches; or a Hugging Face BERT: its folder, its weights file, or
    package:NAME/FILE of an installed package, with config.json and tokenizer.json beside the weights."""
    start: Annotated[list[Layer], Field(min_length=1)] | None = None
    """Blocks of the teacher, counted from 1, that the student's blocks begin as, in this order, with the teacher's
    embeddings, last norm and, with `logits`, head for hidden words (DistilBERT: every other block); None: as without
    a teacher."""
    logits: Weight = 0.0
    """Weight of the teacher's guesses at every token, as soft targets (DistilBERT: 5, beside masked_language at 2)."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Of both softmaxes of `logits`."""
    cosine: Weight = 0.0
    """Weight of 1 - cosine between the last hidden states, of equal width (DistilBERT: 1)."""
    hidden: Weight = 0.0
    """Weight of the squared distance of hidden states of `layers`, the student's mapped linearly (TinyBERT: 1)."""
    attention: Weight = 0.0
    """Weight of the squared distance of attention in `layers`, of equally many heads (TinyBERT: 1)."""
    layers: list[tuple[State, State]] = field(default_factory=list)
    """[student's layer, teacher's layer] pairs for hidden and attention, counted from 1; [0, 0] are the embeddings,
    which have no attention."""
    relations: Weight = 0.0
    """Weight of the relations between tokens in one layer of each (MiniLMv2: 1)."""
    compared: list[Compared] = field(default_factory=lambda: ["query_query", "key_key", "value_value"])
    """What relations are between: MiniLMv2's three, or [query_key, value_value] as in MiniLM."""
    relation_heads: Layer | None = None
    """Heads that the channels of queries, keys and values are cut into again (MiniLMv2: 48 for a base model), so that
    student and teacher may have other numbers of heads; None: those that both have."""
    relation_layers: tuple[Layer, Layer] | None = None
    """[student's layer, teacher's layer] of the relations, counted from 1; None: the last of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(getattr(self, term) for term in TERMS):
            raise ValueError(f"{self.kind}: learns nothing; give one of {', '.join(TERMS)} a weight")
        if (self.hidden or self.attention) and not self.layers:
            raise ValueError("layers: hidden and attention compare layers; name them, such as [[1, 2], [2, 4]]")
        if self.layers and not (self.hidden or self.attention):
            raise ValueError("layers: neither hidden nor attention has a weight; give one, or leave layers out")
        if any((student == 0) != (teacher == 0) for student, teacher in self.layers):
            raise ValueError("layers: 0 are the embeddings, which are compared with embeddings; write [0, 0]")
        if self.attention and not self.blocks():
            raise ValueError("layers: embeddings have no attention; name a pair of blocks, or set attention to 0")
        if self.relations and not self.compared:
            raise ValueError("compared: is empty; name query_query, key_key, value_value or query_key")

    def blocks(self) -> list[tuple[int, int]]:
        """The pairs of `layers` that have attention."""
        return [pair for pair in self.layers if pair != (0, 0)]

    @property
    def needs(self) -> Set[str]:
        return frozenset({"words"})

    def build(self, around: Surroundings) -> "TextDistillationLearner":
        return TextDistillationLearner(self, around)


class TextDistillationLearner(Learner):
    """The weighted sum of the chosen terms, each the mean over all tokens of the global batch, padding left out; terms
    of several layers, and of several relations, are summed. `objectives/imitation.py` has their formulas.

    The teacher is no part of the module: no engine synchronises, divides or stores it, but it follows the module from
    device to device. Evaluation asks nothing of this objective, and builds it without teacher and maps.
    """

    is_asked = False

    def __init__(self, settings: TextDistillation, around: Surroundings) -> None:
        super().__init__(settings, around)
        self._chosen = settings
        text, teacher = around.model.text, around.text_teacher
        # in a tuple: a module in an attribute would become a part of this one, and its weights with it
        self._teacher: tuple[TextTeacher, ...] = () if teacher is None else (teacher,)
        self._words: tuple[MaskedLanguageLearner, ...] = ()
        self.maps = nn.ModuleList()
        if teacher is None:
            return
        refuse_teacher(settings, text, teacher)
        if settings.start:
            refuse_start(settings.start, text, teacher)
        if settings.hidden:
            maps = (nn.Linear(text.width, teacher.tower.width, bias=False) for _ in settings.layers)
            self.maps = nn.ModuleList(maps)
        self._related = settings.relation_layers or (len(text.blocks), len(teacher.tower.blocks))
        with_heads = [
            *(settings.blocks() if settings.attention else []),
            *([self._related] if settings.relations else []),
        ]
        self._heads_of = [{pair[side] for pair in with_heads} for side in (0, 1)]

    def meet(self, others: Iterable[nn.Module]) -> None:
        """Find masked_language, whose guesses are softened.

        Raises:
            ConfigError: it guesses words that the teacher cannot guess.
        """
        if self._chosen.logits:
            (words,) = (each for each in others if type(each) is MaskedLanguageLearner)
            self._words = (words,)
            for teacher in self._teacher:
                refuse_words(words, teacher)

    def begin(self, text: TextTower) -> list[nn.Parameter]:
        """Give the student its teacher's weights where `start` says so; the parameters that have them now."""
        if not self._chosen.start:
            return []
        words = self._words[0] if self._words else None
        return [weight for teacher in self._teacher for weight in begin_as(text, teacher, self._chosen.start, words)]

    def _apply(self, change: Any, recurse: bool = True) -> "TextDistillationLearner":
        for teacher in self._teacher:
            teacher._apply(change, recurse)
        return super()._apply(change, recurse)

    def count(self, batch: Batch) -> Tensor:
        return self._asked(batch).sum()

    def _asked(self, batch: Batch) -> Tensor:
        return batch.mask_BL & self.used(batch)[:, None]

    def forward(self, model: Any, batch: Batch, encoded: Encoded, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        (teacher,) = self._teacher
        student, taught = self.read(model.text, teacher, batch)
        asked_BL = self._asked(batch)
        terms: dict[str, Tensor] = {}
        if self._words:
            terms["logits"] = self._soft_targets(model, *(trace.states[-1][asked_BL] for trace in (student, taught)))
        with torch.autocast(asked_BL.device.type, enabled=False):
            terms |= self._compare(student, taught, asked_BL, looked_at(batch.mask_BL, model.text.causal))
        # every parameter takes part in each pass, also those behind the layers that are compared
        total = 0 * student.states[-1][:, 0].sum()
        for name, term in terms.items():
            total = total + getattr(self._chosen, name) * term
        count = count.clamp(min=1)
        share = total / count
        return share, {"loss": share.detach(), **{name: term.detach() / count for name, term in terms.items()}}

    def read(self, text: TextTower, teacher: TextTeacher, batch: Batch) -> tuple[Trace, Trace]:
        """What student and teacher see in the batch's texts; words are hidden where guesses are softened."""
        tokens_BL, replacement = batch.tokens_BL, None
        for words in self._words:
            masked, replacement = words.corrupt(batch, words.texts(batch))
            tokens_BL = masked.texts.tokens_BL
        student = text.trace(tokens_BL, batch.mask_BL, replacement, self._heads_of[0])
        hidden_BL = None if replacement is None else replacement.at_BL
        return student, teacher.trace(tokens_BL, batch.mask_BL, hidden_BL, self._heads_of[1])

    def _soft_targets(self, model: Any, student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
        (words,), (teacher,) = self._words, self._teacher
        guesses = words.logits(model)(student_ND, words.seen_S), teacher.logits(teacher_ND, words.seen_S)
        with torch.autocast(student_ND.device.type, enabled=False):
            student_NV, teacher_NV = map(at_least_fp32, guesses)
            return imitation.soft_targets(student_NV, teacher_NV, self._chosen.temperature)

    def _compare(self, student: Trace, teacher: Trace, asked_BL: Tensor, seen_BQL: Tensor) -> dict[str, Tensor]:
        """The terms that compare what stands between the ends of the towers, each a sum over tokens."""
        chosen, terms = self._chosen, {}

        def states(mine: int, theirs: int) -> tuple[Tensor, Tensor]:
            return at_least_fp32(student.states[mine][asked_BL]), at_least_fp32(teacher.states[theirs][asked_BL])

        def heads(mine: int, theirs: int) -> tuple[Heads, Heads]:
            return precise(student.heads[mine]), precise(teacher.heads[theirs])

        if chosen.cosine:
            terms["cosine"] = imitation.cosine_distances(*states(-1, -1))
        if chosen.hidden:
            layers = [(own_map, *states(*pair)) for own_map, pair in zip(self.maps, chosen.layers, strict=True)]
            distances = [
                imitation.squared_distances(own_map(mine_ND), theirs_ND) for own_map, mine_ND, theirs_ND in layers
            ]
            terms["hidden"] = torch.stack(distances).sum()
        if chosen.attention:
            distances = [imitation.attention_distances(*heads(*pair), seen_BQL, asked_BL) for pair in chosen.blocks()]
            terms["attention"] = torch.stack(distances).sum()
        if chosen.relations:
            terms["relations"] = self._relate(*heads(*self._related), seen_BQL, asked_BL)
        return terms

    def _relate(self, student: Heads, teacher: Heads, seen_BQL: Tensor, asked_BL: Tensor) -> Tensor:
        count = self._chosen.relation_heads or student.query_BHLK.shape[1]
        ours, theirs = ([imitation.regroup(part, count) for part in heads] for heads in (student, teacher))
        sides = [SIDES[name] for name in self._chosen.compared]
        parts = [
            imitation.relation_divergence((ours[one], ours[other]), (theirs[one], theirs[other]), seen_BQL, asked_BL)
            for one, other in sides
        ]
        return torch.stack(parts).sum()


def looked_at(mask_BL: Tensor, causal: bool) -> Tensor:
    """At whom each token may look; bool, B x Q x L."""
    seen_BQL = mask_BL[:, None].expand(-1, mask_BL.shape[1], -1)
    return seen_BQL.tril() if causal else seen_BQL


def precise(heads: Heads) -> Heads:
    """The same in at least fp32."""
    return Heads(*map(at_least_fp32, heads))
