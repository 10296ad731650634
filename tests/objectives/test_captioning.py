"""Captioning with a contrastive objective is CoCa's loss; matching's wrong partners are a function of the batch."""

from dataclasses import replace

import pytest
import torch
from open_clip.loss import CoCaLoss

from mmpretrain.conformance.toy import select, toy_batch, toy_module
from mmpretrain.core.batch import Batch
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.matching import Matching, MatchingLearner


def unpaired(batch: Batch) -> Batch:
    """Rows that share neither picture nor text: CoCa knows one positive a row."""
    return replace(batch, image_group_B=batch.positions_B, text_group_B=-batch.positions_B)


def test_captioning_and_contrast_are_open_clips_coca_loss() -> None:
    module, batch = toy_module([Contrastive(), Captioning(weight=2.0)]), unpaired(toy_batch())
    shares = module("live", batch, module.count(batch))
    model = module.model
    encoded = model(batch, module.needs)
    x_BLD = model.decode(batch.tokens_BL, batch.mask_BL, encoded.image_BND, encoded.text_BLD)
    labels_BL = batch.tokens_BL[:, 1:].masked_fill(~batch.mask_BL[:, 1:], 0)
    assert (batch.tokens_BL[batch.mask_BL] != 0).all(), "0 stands for padding alone"
    scale = module.objectives[0].log_scale.exp()
    theirs = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0, pad_id=0)(
        encoded.features.image_BE, encoded.features.text_BE, model.words(x_BLD[:, :-1]), labels_BL, scale
    )
    assert shares.total.item() == pytest.approx(sum(theirs).item(), rel=1e-6)
    ours = torch.autograd.grad(shares.total, list(module.parameters()))
    expected = torch.autograd.grad(sum(theirs), list(module.parameters()))
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


def test_smoothing_asks_a_share_of_each_word_of_all_words_alike() -> None:
    plain, batch = toy_module([Captioning()]), toy_batch()
    smooth = toy_module([Captioning(smoothing=0.1)])
    smooth.load_state_dict(plain.state_dict())
    losses = [module("live", batch, module.count(batch)).total.item() for module in (plain, smooth)]
    encoded = plain.model(batch, plain.needs)
    x_BLD = plain.model.decode(batch.tokens_BL, batch.mask_BL, encoded.image_BND, encoded.text_BLD)
    of_all_BL = -plain.model.words(x_BLD[:, :-1]).log_softmax(dim=-1).mean(dim=-1)
    alike = of_all_BL[batch.mask_BL[:, 1:]].mean().item()
    assert losses[1] == pytest.approx(0.9 * losses[0] + 0.1 * alike, rel=1e-9)


def matching(within: int = 8, scale: float = 14.0) -> tuple[MatchingLearner, torch.Tensor, Batch]:
    module = toy_module([Contrastive(), Matching(negatives_within=within, scale=scale)])
    batch = toy_batch()
    similarity_BB = torch.randn(len(batch), len(batch), generator=torch.Generator().manual_seed(3)).double()
    return module.objectives[1], similarity_BB, batch  # type: ignore[return-value]


@pytest.mark.parametrize("within", [2, 8, 32])
def test_a_wrong_partner_is_near_and_shares_neither_picture_nor_text(within: int) -> None:
    learner, similarity_BB, batch = matching(within)
    drawn = learner.draw(similarity_BB, batch, 1)
    for row, (partner, exists) in enumerate(zip(drawn.row_B.tolist(), drawn.exists_B.tolist(), strict=True)):
        if not exists:
            assert partner == row
            continue
        assert batch.image_group_B[row] != batch.image_group_B[partner]
        assert batch.text_group_B[row] != batch.text_group_B[partner]
        assert batch.positions_B[row] // within == batch.positions_B[partner] // within


def test_the_draw_of_a_row_is_the_same_however_the_batch_is_cut() -> None:
    learner, similarity_BB, batch = matching()
    whole = learner.draw(similarity_BB, batch, 1)
    for start in range(0, len(batch), 8):
        rows = slice(start, start + 8)
        part = learner.draw(similarity_BB[rows, rows], select(batch, rows), 1)
        assert torch.equal(part.row_B + start, whole.row_B[rows])
        assert torch.equal(part.exists_B, whole.exists_B[rows])


def test_the_larger_the_scale_the_more_similar_the_wrong_partner() -> None:
    means = []
    for scale in (0.0, 1.0, 100.0):
        learner, similarity_BB, batch = matching(within=32, scale=scale)
        drawn = learner.draw(similarity_BB, batch, 1)
        means.append(similarity_BB[torch.arange(len(batch)), drawn.row_B][drawn.exists_B].mean().item())
    assert means == sorted(means)
    assert means[2] - means[0] > 1


def test_draws_of_texts_and_pictures_and_of_other_positions_differ() -> None:
    learner, similarity_BB, batch = matching(within=32, scale=0.0)
    drawn = [learner.draw(similarity_BB, batch, purpose).row_B for purpose in (1, 2)]
    later = learner.draw(similarity_BB, replace(batch, positions_B=batch.positions_B + 3200), 1).row_B
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], later)
