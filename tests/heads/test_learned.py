"""Writing and filling in, on towers that have learned a handful of captions by heart."""

import torch

from mmpretrain.conformance.toy import LENGTH, select, toy_batch, toy_module
from mmpretrain.core.batch import Batch
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.beam import Beam
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import write
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.masked_language import ImageMaskedLanguage

ROWS, START, END = 4, 1, 63


def learned() -> tuple[TrainingModule, Batch]:
    module = toy_module([Captioning(), ImageMaskedLanguage(share=0.5)]).float()
    batch = select(toy_batch(), slice(0, ROWS))
    batch.tokens_BL[:, 0] = START
    batch.tokens_BL[torch.arange(ROWS), batch.mask_BL.sum(dim=1) - 1] = END
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        module("live", batch, module.count(batch)).total.backward()
        optimizer.step()
    return module.eval(), batch


def test_captions_learned_by_heart_are_written_again_and_hidden_words_filled_in() -> None:
    module, batch = learned()
    task = Task(start=START, end=END, positions_P=batch.positions_B)
    for way in (Greedy(most_tokens=LENGTH - 1), Beam(most_tokens=LENGTH - 1)):
        written = module("ask", write, batch.images_BCHW, task, way)
        expected_BL = batch.tokens_BL.masked_fill(~batch.mask_BL, END)[:, 1:]
        assert torch.equal(written.tokens_PL, expected_BL)
        assert (written.log_probability_P > -0.7).all(), "sure of every word"
    filled = module("fill", batch)
    assert torch.equal(filled.tokens_BL, batch.tokens_BL)
    assert filled.hidden_BL.any()
    assert (filled.guess_BL == batch.tokens_BL)[filled.hidden_BL].all()
