"""Greedy writing and filling in, on towers that have learned a handful of captions by heart."""

import torch

from mmpretrain.conformance.toy import LENGTH, toy_batch, toy_module
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.greedy import continue_text
from mmpretrain.objectives.masked_language import ImageMaskedLanguage

ROWS = 4


def learned() -> TrainingModule:
    from mmpretrain.conformance.toy import select

    module = toy_module([Captioning(), ImageMaskedLanguage(share=0.5)]).float()
    batch = select(toy_batch(), slice(0, ROWS))
    batch.tokens_BL[:, 0] = 1  # one start token for all
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        module("live", batch, module.count(batch)).total.backward()
        optimizer.step()
    module.eval()
    module.batch = batch  # type: ignore[assignment]
    return module


def test_captions_learned_by_heart_are_written_again_and_hidden_words_filled_in() -> None:
    module = learned()
    batch = module.batch
    written_BL = module("write", batch, LENGTH)
    assert written_BL.shape == (ROWS, LENGTH)
    for row, length in enumerate(batch.mask_BL.sum(dim=1).tolist()):
        assert written_BL[row, :length].tolist() == batch.tokens_BL[row, :length].tolist()
    filled = module("fill", batch)
    assert torch.equal(filled.tokens_BL, batch.tokens_BL)
    assert filled.hidden_BL.any()
    assert (filled.guess_BL == batch.tokens_BL)[filled.hidden_BL].all()


def test_each_greedy_word_is_the_likeliest_after_those_before_it() -> None:
    module = learned()
    batch, model = module.batch, module.model
    written_BL = continue_text(model, batch, 2, LENGTH, lambda x_BD: model.words(x_BD).argmax(dim=1))
    assert torch.equal(written_BL[:, :2], batch.tokens_BL[:, :2])
    x_BLD, _ = model.text(written_BL, torch.ones_like(written_BL, dtype=torch.bool))
    assert torch.equal(model.words(x_BLD)[:, 1:-1].argmax(dim=-1), written_BL[:, 2:])
