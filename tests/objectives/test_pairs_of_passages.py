"""Words hidden in both passages of a pair, which is read once for all that look at it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mmpretrain.conformance.cuts import build_objective
from mmpretrain.conformance.toy import ROWS, select, toy_batch, toy_module
from mmpretrain.core.batch import Batch
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.passages import continuation, join_passages, read_texts

PAIRING = {"kind": "next_sentence", "from_document": False}
HIDING = {"kind": "masked_language", "inside": "pair", "share": 0.5}


def module_of(*trees: dict[str, Any]) -> TrainingModule:
    return toy_module([build_objective(tree, None) for tree in trees])


def learner(module: TrainingModule, name: str) -> Any:
    return next(each for each in module.objectives if each.name == name)


def trimmed(batch: Batch) -> Batch:
    """The batch without columns that only hold padding, as the loader cuts it."""
    length, following = int(batch.mask_BL.sum(dim=1).max()), int(batch.next_mask_BL.sum(dim=1).max())
    return replace(
        batch,
        tokens_BL=batch.tokens_BL[:, :length],
        mask_BL=batch.mask_BL[:, :length],
        next_tokens_BL=batch.next_tokens_BL[:, :following],
        next_mask_BL=batch.next_mask_BL[:, :following],
    )


def test_words_of_both_passages_are_hidden_and_starts_and_ends_never() -> None:
    module, batch = module_of({**HIDING, "share": 1.0}, PAIRING), toy_batch()
    hiding = learner(module, "masked_language")
    texts = hiding.texts(batch)
    predicted_BL = hiding.corrupt(batch, texts)[0].predicted_BL
    row_B = continuation(batch, torch.ones(ROWS, dtype=torch.bool), learner(module, "next_sentence").settings, 0)
    assert (row_B != torch.arange(ROWS)).any(), "some continuations are wrong ones"
    for row in range(ROWS):
        lengths = int(batch.mask_BL[row].sum()), int(batch.next_mask_BL[row_B[row]].sum())
        first = batch.tokens_BL[row, : lengths[0]].tolist()
        second = batch.next_tokens_BL[row_B[row], : lengths[1]].tolist()
        kept = texts.mask_BL[row]
        assert texts.tokens_BL[row, kept].tolist() == [*first, *second[1:]]
        asked = [False, *[True] * (len(first) - 2), False, *[True] * (len(second) - 2), False]
        assert predicted_BL[row, kept].tolist() == asked
        assert not predicted_BL[row, ~kept].any()


def test_the_pair_is_read_once_for_both_objectives_in_every_phase() -> None:
    module, batch = module_of(HIDING, PAIRING), toy_batch()
    rows: list[int] = []
    module.model.text.register_forward_hook(lambda tower, given, said: rows.append(len(said[0])))
    counts = module.count(batch)
    for phase, arguments in (("live", (counts,)), ("measure", ()), ("fill", ())):
        module(phase, batch, *arguments)
        assert rows == [ROWS], phase
        rows.clear()
    apart = module_of({**HIDING, "inside": "text"}, PAIRING)
    apart.model.text.register_forward_hook(lambda tower, given, said: rows.append(len(said[0])))
    apart("live", batch, counts)
    assert rows == [ROWS, ROWS], "texts and pairs are different rows"


def test_replayed_micro_batches_read_each_pair_once_and_give_the_gradient_of_the_whole() -> None:
    trees = ({"kind": "contrastive"}, HIDING, PAIRING)
    whole, parts, batch = module_of(*trees), module_of(*trees), toy_batch()
    counts = whole.count(batch)
    whole("live", batch, counts).total.backward()
    micro_batches = [trimmed(select(batch, slice(start, start + 8))) for start in range(0, ROWS, 8)]
    assert len({micro.mask_BL.shape[1] for micro in micro_batches}) > 1, "padded to different lengths"
    _, cached = parts("loss", [parts("embed", micro) for micro in micro_batches], counts)
    runs: list[int] = []
    parts.model.text.register_forward_hook(lambda *_: runs.append(1))
    for number, micro in enumerate(micro_batches):
        parts("replay", micro, cached, number, counts)[0].backward()
    assert len(runs) == 2 * len(micro_batches), "texts for contrastive, pairs for both others"
    found = dict(parts.named_parameters())
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, rtol=1e-8, atol=1e-12, msg=name)


def test_next_sentence_judges_the_rows_with_the_words_hidden() -> None:
    module, batch = module_of(HIDING, PAIRING), toy_batch()
    hiding, pairing = learner(module, "masked_language"), learner(module, "next_sentence")
    masked, hidden = hiding.corrupt(batch, hiding.texts(batch))
    x_BLD = read_texts(module.model, masked.texts, hidden)
    metrics = module("live", batch, module.count(batch)).metrics
    logits_B2 = pairing.head(torch.tanh(pairing.pool(x_BLD[:, 0])))
    expected = F.cross_entropy(logits_B2, pairing.answers(batch))
    torch.testing.assert_close(metrics["next_sentence/loss"], expected.detach())
    chosen = masked.predicted_BL
    logits_NV = hiding.logits(module.model)(x_BLD[chosen], None)
    expected = F.cross_entropy(logits_NV, hiding.texts(batch).tokens_BL[chosen])
    torch.testing.assert_close(metrics["masked_language/loss"], expected.detach())


@pytest.mark.parametrize("others", [[], [{"kind": "masked_language"}]], ids=["alone", "beside hidden words in texts"])
def test_without_words_hidden_in_pairs_next_sentence_judges_them_as_they_are(others: list[dict]) -> None:
    module, batch = module_of(PAIRING, *others), toy_batch()
    pairing = learner(module, "next_sentence")
    pairs = join_passages(batch, continuation(batch, pairing.used(batch), pairing.settings, 0))
    x_BLD = module.model.text(pairs.tokens_BL, pairs.mask_BL, pairs.positions_BL, pairs.segments_BL, causal=False)[0]
    logits_B2 = pairing.head(torch.tanh(pairing.pool(x_BLD[:, 0])))
    losses_B = F.cross_entropy(logits_B2, pairing.answers(batch), reduction="none")
    found = module("live", batch, module.count(batch)).metrics["next_sentence/loss"]
    assert torch.equal(found, losses_B.sum() / ROWS)


def test_the_same_words_are_hidden_however_far_a_batch_is_padded() -> None:
    module, batch = module_of(HIDING, PAIRING), toy_batch()
    whole = module("fill", batch)
    for start in range(0, ROWS, 4):
        rows = slice(start, start + 4)
        part = trimmed(select(batch, rows))
        filled = module("fill", part)
        for row in range(4):
            at, inner = whole.inner_BL[start + row], filled.inner_BL[row]
            for name in ("tokens_BL", "hidden_BL", "guess_BL"):
                assert torch.equal(getattr(filled, name)[row, inner], getattr(whole, name)[start + row, at]), name
    assert 0 < whole.hidden_BL.sum() < whole.inner_BL.sum()


def test_answers_and_counts_are_those_of_the_words_in_both_passages() -> None:
    module, batch = module_of({**HIDING, "share": 1.0}, PAIRING), toy_batch()
    hiding = learner(module, "masked_language")
    texts = hiding.texts(batch)
    assert torch.equal(hiding.answers(batch), texts.tokens_BL[texts.inner_BL])
    assert int(hiding.count(batch)) == len(hiding.answers(batch)) > int(batch.mask_BL.sum()) - 2 * ROWS


def test_pairs_learned_by_heart_are_filled_in_from_the_rows_that_were_read() -> None:
    module, batch = module_of({**HIDING, "share": 0.3}, PAIRING).float(), select(toy_batch(), slice(0, 4))
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        module("live", batch, module.count(batch)).total.backward()
        optimizer.step()
    module.eval()
    filled = module("fill", batch)
    assert torch.equal(filled.tokens_BL, learner(module, "masked_language").texts(batch).tokens_BL)
    second = filled.hidden_BL[:, batch.mask_BL.shape[1] :]
    assert second.any()
    assert (~second).any()
    assert (filled.guess_BL == filled.tokens_BL)[filled.hidden_BL].all()
