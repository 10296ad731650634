"""What every objective promises, on the conformance check's toy towers in fp64: the whole union, alone and mixed."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmpretrain.conformance.cuts import build_objective
from mmpretrain.conformance.toy import LENGTH, VOCABULARY, select, toy_batch, toy_module
from mmpretrain.core.batch import Batch
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.recipes.conformance import EVERY

every_mix = pytest.mark.parametrize("name", EVERY)


def module_of(name: str) -> TrainingModule:
    return toy_module([build_objective(tree, None) for tree in EVERY[name]])


def learn(module: TrainingModule, batch: Batch) -> dict[str, Tensor]:
    """Loss and gradients of one live step."""
    module.zero_grad()
    shares = module("live", batch, module.count(batch))
    shares.total.backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    return {"loss": shares.total.detach(), **{name: gradient.clone() for name, gradient in found.items()}}


def no_words(batch: Batch) -> Batch:
    """Start and end token only, as an empty caption gives."""
    mask_BL = torch.arange(LENGTH) < torch.full((len(batch), 1), 2)
    return replace(batch, mask_BL=mask_BL, tokens_BL=batch.tokens_BL * mask_BL, next_mask_BL=mask_BL)


def only_start(batch: Batch) -> Batch:
    mask_BL = (torch.arange(LENGTH) < 1).expand(len(batch), LENGTH)
    return replace(batch, mask_BL=mask_BL, next_mask_BL=mask_BL)


def full_length(batch: Batch) -> Batch:
    mask_BL = torch.ones(len(batch), LENGTH, dtype=torch.bool)
    return replace(batch, mask_BL=mask_BL, next_mask_BL=mask_BL)


def first_row_short(batch: Batch) -> Tensor:
    return (torch.arange(len(batch))[:, None] > 0) | (torch.arange(LENGTH) < 2)


def one_pixel(batch: Batch) -> Tensor:
    images_BCHW = batch.images_BCHW * 0
    images_BCHW[:, :, 5, 7] = 255
    return images_BCHW


DEGENERATE: dict[str, Any] = {
    "one row": lambda batch: select(batch, slice(0, 1)),
    "two rows": lambda batch: select(batch, slice(0, 2)),
    "no words": no_words,
    "only the start token": only_start,
    "texts as long as the context": full_length,
    "one picture for all": lambda batch: replace(batch, image_group_B=batch.image_group_B * 0),
    "one text for all": lambda batch: replace(batch, text_group_B=batch.text_group_B * 0),
    "everything belongs together": lambda batch: replace(
        batch, image_group_B=batch.image_group_B * 0, text_group_B=batch.text_group_B * 0
    ),
    "black pictures": lambda batch: replace(batch, images_BCHW=batch.images_BCHW * 0),
    "white pictures": lambda batch: replace(batch, images_BCHW=batch.images_BCHW * 0 + 255),
    "equal rows": lambda batch: select(batch, torch.zeros(8, dtype=torch.int64)),
    "one word again and again": lambda batch: replace(batch, tokens_BL=batch.mask_BL.long()),
    "three rows": lambda batch: select(batch, slice(0, 3)),
    "an odd number of rows": lambda batch: select(batch, slice(0, 31)),
    "rows from two ends of the order": lambda batch: replace(batch, positions_B=batch.positions_B * 10**9),
    "positions that stand still": lambda batch: replace(batch, positions_B=batch.positions_B * 0),
    "one empty text among others": lambda batch: replace(batch, mask_BL=batch.mask_BL & first_row_short(batch)),
    "grey pictures": lambda batch: replace(batch, images_BCHW=batch.images_BCHW * 0 + 127),
    "one bright pixel": lambda batch: replace(batch, images_BCHW=one_pixel(batch)),
    "views alike": lambda batch: replace(batch, views_BVCHW=batch.views_BVCHW[:, :1].expand_as(batch.views_BVCHW)),
    "black views": lambda batch: replace(batch, views_BVCHW=batch.views_BVCHW * 0),
    "the last word of the vocabulary": lambda batch: replace(
        batch, tokens_BL=batch.tokens_BL * 0 + (VOCABULARY - 1) * batch.mask_BL
    ),
    "the same passage after every text": lambda batch: replace(
        batch, next_tokens_BL=batch.next_tokens_BL[:1].expand_as(batch.next_tokens_BL)
    ),
    "every document by itself": lambda batch: replace(batch, text_group_B=batch.positions_B),
    "one document for all": lambda batch: replace(batch, text_group_B=batch.positions_B * 0),
    "no two rows near each other": lambda batch: replace(batch, positions_B=batch.positions_B * 64),
    "negative groups": lambda batch: replace(
        batch, image_group_B=-batch.image_group_B, text_group_B=-batch.text_group_B
    ),
    "groups as large as they come": lambda batch: replace(batch, image_group_B=batch.image_group_B + 2**62),
    "far along in the order": lambda batch: replace(batch, positions_B=batch.positions_B + 10**12),
    "no row of the objective's source": lambda batch: replace(batch, source_B=batch.source_B - 1),
}


@every_mix
@pytest.mark.parametrize("case", DEGENERATE)
def test_loss_and_gradients_are_finite_on_degenerate_batches(name: str, case: str) -> None:
    module = module_of(name)
    if case == "no row of the objective's source":
        module.eval()  # where -1 marks rows that fill a batch up
    found = learn(module, DEGENERATE[case](toy_batch()))
    assert all(value.isfinite().all() for value in found.values())


@every_mix
def test_zero_features_and_a_temperature_at_its_bound_stay_finite(name: str) -> None:
    module = module_of(name)
    with torch.no_grad():
        for parameter_name, parameter in module.named_parameters():
            if "projection" in parameter_name:
                parameter.zero_()
            if parameter_name.endswith("log_scale"):
                parameter.fill_(50.0)
    assert all(value.isfinite().all() for value in learn(module, toy_batch()).values())


@every_mix
def test_gradients_reach_every_parameter_of_model_and_objectives(name: str) -> None:
    module = module_of(name)
    found = learn(module, toy_batch())
    assert found.keys() - {"loss"} == {parameter for parameter, _ in module.named_parameters()}
    assert [parameter for parameter, gradient in found.items() if not gradient.any()] == []


@every_mix
def test_the_loss_does_not_depend_on_the_order_of_objectives_that_came_before(name: str) -> None:
    first, second = learn(module_of(name), toy_batch()), learn(module_of(name), toy_batch())
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_mix
def test_padding_changes_nothing(name: str) -> None:
    batch = toy_batch()
    longer = {
        field: torch.nn.functional.pad(getattr(batch, field), (0, 3))
        for field in ("tokens_BL", "mask_BL", "next_tokens_BL", "next_mask_BL")
    }
    padded, plain = learn(module_of(name), replace(batch, **longer)), learn(module_of(name), batch)
    for key, expected in plain.items():
        torch.testing.assert_close(padded[key], expected, rtol=1e-9, atol=1e-12, msg=key)


@every_mix
def test_metrics_add_up_over_micro_batches_and_say_the_loss(name: str) -> None:
    module, batch = module_of(name), toy_batch()
    counts = module.count(batch)
    whole = module("live", batch, counts)
    pairs = zip(module.weights, module.objectives, strict=True)
    total = sum(weight * float(whole.metrics[f"{each.name}/loss"]) for weight, each in pairs)
    assert total == pytest.approx(whole.total.item(), rel=1e-9)
    local = [each for each in module.objectives if not each.is_global]
    parts = [module("live", select(batch, slice(start, start + 8)), counts) for start in range(0, len(batch), 8)]
    for each in local:
        for key in (key for key in whole.metrics if key.startswith(f"{each.name}/")):
            assert sum(float(part.metrics[key]) for part in parts) == pytest.approx(float(whole.metrics[key]), rel=1e-6)


@every_mix
def test_what_is_measured_is_what_is_learned(name: str) -> None:
    module, batch = module_of(name), toy_batch()
    counts = dict(zip([each.name for each in module.objectives], module.count(batch).tolist(), strict=True))
    live = module("live", batch, module.count(batch)).metrics
    for key, total in module("measure", batch).items():
        objective = key.partition("/")[0]
        assert float(total) / counts[objective] == pytest.approx(float(live[key]), rel=1e-6)
    for each in module.objectives:
        if not each.is_global:
            assert len(each.answers(batch)) in (0, counts[each.name])


def test_the_image_tower_runs_once_for_all_that_share_the_picture() -> None:
    module, calls = module_of("mix"), []
    module.model.image.register_forward_hook(lambda *_: calls.append(1))
    learn(module, toy_batch())
    assert len(calls) == 1


def test_weights_follow_their_schedule() -> None:
    trees: list[dict] = [{"kind": "contrastive"}, {"kind": "captioning", "weight": [[10, 0.0], [20, 1.0]]}]
    module = toy_module([build_objective(tree, None) for tree in trees])
    for step, weight in ((0, 0.0), (10, 0.0), (15, 0.5), (20, 1.0), (1000, 1.0)):
        module.begin(step)
        assert module.weights == [1.0, weight]
    batch = toy_batch()
    module.begin(0)
    without = module("live", batch, module.count(batch))
    assert without.total.item() == pytest.approx(float(without.metrics["contrastive/loss"]))
