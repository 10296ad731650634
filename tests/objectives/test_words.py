"""Predicting only words that training has seen: fewer logits, the same loss among them, others at one place."""

import pytest
import torch

from mmpretrain.conformance.toy import VOCABULARY, toy_batch, toy_module
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.captioning import Captioning, CausalLanguage
from mmpretrain.objectives.masked_language import ImageMaskedLanguage, MaskedLanguage
from mmpretrain.objectives.words import WordLearner

SEEN = torch.tensor([0, 3, 5, 8])
KINDS = [Captioning, CausalLanguage, MaskedLanguage, ImageMaskedLanguage]


def learner(seen: torch.Tensor | None) -> WordLearner:
    model = toy_module([CausalLanguage()]).model
    return CausalLanguage(words="seen").build(Surroundings(model=model, seen_S=seen))


def test_places_and_ids_are_each_others_inverse_and_unknown_words_share_the_first_place() -> None:
    built = learner(SEEN)
    assert built.places(torch.tensor([0, 3, 5, 8])).tolist() == [0, 1, 2, 3]
    assert built.ids(torch.tensor([0, 1, 2, 3])).tolist() == SEEN.tolist()
    assert built.places(torch.tensor([1, 4, 9, 63])).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_where_every_word_was_seen_the_loss_is_that_of_the_whole_vocabulary(kind: type) -> None:
    found = []
    for words, seen in (("all", None), ("seen", torch.arange(VOCABULARY))):
        module = toy_module([kind(words=words)])
        batch = toy_batch()
        for each in module.objectives:
            each.seen_S = seen
        found.append(module("live", batch, module.count(batch)).total)
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_of_seen_words_alone_and_a_word_never_seen_counts_as_wrong(kind: type) -> None:
    module, batch = toy_module([kind(words="seen")]), toy_batch()
    (objective,) = module.objectives
    objective.seen_S = SEEN
    shares = module("live", batch, module.count(batch))
    shares.total.backward()
    assert shares.total.isfinite()
    assert set(objective.answers(batch).tolist()) <= {0, 1, 2, 3}
