"""Small towers and a batch on which gradients are compared: what is checked is the objectives' arithmetic."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import normalize

from mmpretrain.core.batch import Batch
from mmpretrain.core.counter import seed_torch
from mmpretrain.data.card import IGNORED
from mmpretrain.data.labels import Labels
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule, needs_of
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.objectives.text_teacher import TextTeacher
from mmpretrain.objectives.words import WordHead
from mmpretrain.towers.fusion import Fusion
from mmpretrain.towers.image import TimmImage
from mmpretrain.towers.model import LOOKS_AT_PICTURES, TextSettings, Towers
from mmpretrain.towers.text import BidirectionalText, CausalText

ROWS = 32
"""Divides by up to 4 ranks of 4 micro-batches, which then hold one group of negatives each."""
NEGATIVES_WITHIN = 2
SIZE, WIDTH, LENGTH, VOCABULARY = 32, 16, 8, 64
CLASSES = ("a", "b", "c")
TEACHER_LAYERS = 2
FIRST = 64
"""Position of the first row."""

How = Literal["plain", "checkpointed", "frozen"]
"""How the towers are trained: whole; with activations computed again in backward; the picture's first blocks kept."""


def toy_module(
    objectives: Sequence[Any], dropout: float = 0.0, sources: Sequence[str] = (), how: How = "plain"
) -> TrainingModule:
    """The objectives over a tiny ViT and text tower, in fp64, always with the same weights."""
    needs = needs_of(objectives)
    causal = bool(needs & {"text", "decoder"})
    again = how == "checkpointed"
    shape: dict[str, Any] = {"width": WIDTH, "layers": 1, "heads": 2, "dropout": dropout, "checkpointing": again}
    image = TimmImage(name="test_vit", size=SIZE, checkpointing=again, frozen_blocks=2 if how == "frozen" else 0)
    pictures = bool(needs & LOOKS_AT_PICTURES)
    towers = Towers(
        image=image if pictures else None,
        text=CausalText(**shape) if causal else BidirectionalText(**shape),
        fusion=Fusion(layers=1) if "fusion" in needs else None,
        decoder=Fusion(layers=1) if "decoder" in needs else None,
        embedding=WIDTH,
        view_hidden=WIDTH,
        view_embedding=WIDTH,
    )
    teacher = toy_teacher(towers.text) if any(each.kind == "text_distillation" for each in objectives) else None
    seed_torch(0)
    model = towers.build(VOCABULARY, 2 * LENGTH, needs)
    labels = {each.called: toy_labels(each.called) for each in objectives}
    around = Surroundings(model=model, sources=sources, text_teacher=teacher, labels=labels)
    module = TrainingModule(model, objectives, around)
    disturb(module)
    return module.double()


def toy_labels(head: str) -> Labels:
    """A head that is called `several` learns from pictures of several classes."""
    return Labels(classes=CLASSES, mask_classes=CLASSES, several=head == "several")


def toy_teacher(student: TextSettings) -> TextTeacher:
    """A deeper text tower of random weights that guesses hidden words."""
    seed_torch(2)
    tower = replace(student, layers=TEACHER_LAYERS, dropout=0.0).build(VOCABULARY, 2 * LENGTH)
    return TextTeacher(tower, "toy", head=WordHead(WIDTH, VOCABULARY), mask_D=torch.randn(WIDTH))


def shallow(settings: TextDistillation) -> TextDistillation:
    """The same terms, of layers and heads that toy towers have."""
    return replace(
        settings,
        layers=[(min(student, 1), min(teacher, TEACHER_LAYERS)) for student, teacher in settings.layers],
        relation_layers=settings.relation_layers and (1, TEACHER_LAYERS),
        relation_heads=settings.relation_heads and 4,
    )


def disturb(module: nn.Module) -> None:
    """Move what starts at zero or one, so that no gradient is right by accident."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def toy_batch(rows: int = ROWS, sources: int = 1) -> Batch:
    """Pictures, texts of different lengths, passages that follow, labels, masks and answers.

    Some rows share a picture or a text; some have no label or an answer that no head knows, some pixels no class.
    """
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int, high: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator)

    rows_B = torch.arange(rows)
    lengths_B = 3 + draw(rows, high=LENGTH - 2)
    mask_BL = torch.arange(LENGTH) < lengths_B[:, None]
    masks_BHW = draw(rows, SIZE, SIZE, high=len(CLASSES) + 1)
    said = (*CLASSES, "something else")
    return Batch(
        images_BCHW=draw(rows, 3, SIZE, SIZE, high=256).to(torch.uint8),
        teacher_image_BT=normalize(torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64), dim=-1),
        teacher_text_BT=normalize(torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64), dim=-1),
        views_BVCHW=draw(rows, 2, 3, SIZE, SIZE, high=256).to(torch.uint8),
        tokens_BL=(1 + draw(rows, LENGTH, high=VOCABULARY - 1)) * mask_BL,
        mask_BL=mask_BL,
        next_tokens_BL=(1 + draw(rows, LENGTH, high=VOCABULARY - 1)) * mask_BL.flip(0),
        next_mask_BL=mask_BL.flip(0),
        positions_B=FIRST + rows_B,
        image_group_B=rows_B // 2 * (rows_B % 6 < 2) + rows_B * (rows_B % 6 >= 2) + 100,
        text_group_B=rows_B % 5,
        labels_B=rows_B % (len(CLASSES) + 1) - 1,
        label_sets=tuple((row % 3, 2)[: row % 4] for row in range(rows)),
        masks_BHW=torch.where(masks_BHW < len(CLASSES), masks_BHW, IGNORED).to(torch.uint8),
        answers=tuple((said[row % 4], said[row // 4 % 4]) for row in range(rows)),
        keys=tuple(str(row) for row in range(rows)),
        source_B=rows_B % sources,
    )


def part_of(batch: Batch, micro: int, rank: int, ranks: int, micros: int) -> Batch:
    """The rows of one micro-batch of one rank, cut as the loader cuts them."""
    rows = len(batch) // (ranks * micros)
    chosen = slice((rank * micros + micro) * rows, (rank * micros + micro + 1) * rows)
    return select(batch, chosen)


def select(batch: Batch, rows: slice | torch.Tensor) -> Batch:
    """Some rows of a batch."""
    values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    places = torch.arange(len(batch))[rows].tolist()
    chosen: dict[str, Any] = {name: value[rows] for name, value in values.items() if isinstance(value, torch.Tensor)}
    for name in ("keys", "label_sets", "answers"):
        chosen[name] = tuple(values[name][place] for place in places)
    return replace(batch, **chosen)
