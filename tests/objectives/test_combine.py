"""The training module: weighted sums, and phases that give one gradient however the batch is cut."""

from collections.abc import Set
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmpretrain.core.batch import Batch, Encoded, Features
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.contrastive import Contrastive

ROWS = 12


class Planes(nn.Module):
    """Two linear towers on the raw numbers of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(12, 8)
        self.text = nn.Linear(4, 8)

    def forward(self, batch: Batch, needs: Set[str]) -> Encoded:
        features = Features(
            image_BE=normalize(self.image(batch.images_BCHW.flatten(1).float() / 255), dim=-1),
            text_BE=normalize(self.text(batch.tokens_BL.float() / 100), dim=-1),
            image_group_B=batch.image_group_B,
            text_group_B=batch.text_group_B,
            source_B=torch.zeros(len(batch), dtype=torch.int64) if batch.source_B is None else batch.source_B,
        )
        return Encoded(features=features, image_BND=torch.empty(0), text_BLD=torch.empty(0))


def module(*objectives: Contrastive) -> TrainingModule:
    torch.manual_seed(0)
    return TrainingModule(Planes(), objectives or (Contrastive(),))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    rows = torch.arange(ROWS)
    return Batch(
        images_BCHW=torch.randint(0, 256, (ROWS, 3, 2, 2), dtype=torch.uint8, generator=generator),
        tokens_BL=torch.randint(0, 100, (ROWS, 4), generator=generator),
        mask_BL=torch.ones(ROWS, 4, dtype=torch.bool),
        positions_B=rows,
        image_group_B=rows // 2,
        text_group_B=rows + 100,
        labels_B=rows,
    )


def cut(whole: Batch, sizes: list[int]) -> list[Batch]:
    """Neighbouring rows as micro-batches."""
    names = [field.name for field in fields(whole) if isinstance(getattr(whole, field.name), Tensor)]
    columns = {name: getattr(whole, name).split(sizes) for name in names}
    return [replace(whole, **{name: columns[name][part] for name in names}) for part in range(len(sizes))]


def gradients(built: TrainingModule) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in built.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("sizes", [[12], [6, 6], [4, 4, 4], [1] * 12, [5, 7]])
def test_replayed_micro_batches_give_loss_metrics_and_gradient_of_the_whole(sizes: list[int]) -> None:
    whole, parts = module(), module()
    counts = whole.count(batch())
    live = whole("live", batch(), counts)
    live.total.backward()

    micro_batches = cut(batch(), sizes)
    shares, cached = parts("loss", [parts("embed", micro) for micro in micro_batches], counts)
    for number, micro in enumerate(micro_batches):
        parts("replay", micro, cached, number, counts)[0].backward()

    assert shares.total.item() == pytest.approx(live.total.item(), rel=1e-6)
    torch.testing.assert_close(shares.metrics, live.metrics, rtol=1e-6, atol=0)
    expected, found = gradients(whole), gradients(parts)
    assert found.keys() == expected.keys() == dict(whole.named_parameters()).keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


def test_every_parameter_takes_part_in_every_replayed_pass() -> None:
    built = module()
    micro_batches = cut(batch(), [6, 6])
    _, cached = built("loss", [built("embed", micro) for micro in micro_batches], built.count(batch()))
    for number, micro in enumerate(micro_batches):
        built.zero_grad()
        built("replay", micro, cached, number, built.count(batch()))[0].backward()
        assert gradients(built).keys() == dict(built.named_parameters()).keys()


def test_objectives_are_summed_by_weight_and_keep_their_own_numbers() -> None:
    heavy, light = module(Contrastive(weight=2.0)), module()
    counts = light.count(batch())
    weighted, plain = heavy("live", batch(), counts), light("live", batch(), counts)
    assert weighted.total.item() == pytest.approx(2 * plain.total.item(), rel=1e-6)
    assert weighted.metrics == plain.metrics
    assert plain.metrics.keys() == {"contrastive/loss", "contrastive/scale"}


def test_a_frozen_temperature_is_left_out_of_the_replay() -> None:
    built = module()
    built.objectives.requires_grad_(False)
    _, cached = built("loss", [built("embed", batch())], built.count(batch()))
    built("replay", batch(), cached, 0, built.count(batch()))[0].backward()
    assert gradients(built).keys() == {f"model.{name}" for name, _ in built.model.named_parameters()}


def test_features_for_evaluation_carry_no_graph() -> None:
    features = module()("embed", batch())
    assert not features.image_BE.requires_grad
    assert not features.text_BE.requires_grad


def test_counts_are_rows_and_add_up() -> None:
    built = module()
    assert built.count(batch()).tolist() == [ROWS]
    assert sum(built.count(micro) for micro in cut(batch(), [5, 7])).tolist() == [ROWS]  # type: ignore[union-attr]


def test_an_objective_of_one_source_gives_the_loss_and_gradient_of_those_rows_alone() -> None:
    mixed = replace(batch(), source_B=torch.arange(ROWS) % 3)
    chosen = [row for row in range(ROWS) if row % 3 in (0, 2)]
    names = [field.name for field in fields(mixed) if isinstance(getattr(mixed, field.name), Tensor)]
    alone = replace(batch(), **{name: getattr(mixed, name)[chosen] for name in names if name != "source_B"})
    torch.manual_seed(0)
    some = TrainingModule(
        Planes(), [Contrastive(sources=["a", "c"])], Surroundings(model=None, sources=["a", "b", "c"])
    )
    every = module()
    for built, given in ((some, mixed), (every, alone)):
        assert built.count(given).item() == len(chosen)
        built("live", given, built.count(given)).total.backward()
    for name, gradient in gradients(every).items():
        torch.testing.assert_close(gradients(some)[name], gradient, rtol=1e-5, atol=1e-7)


def test_a_step_without_a_row_of_the_source_changes_nothing() -> None:
    built = TrainingModule(Planes(), [Contrastive(sources=["b"])], Surroundings(model=None, sources=["a", "b"]))
    given = replace(batch(), source_B=torch.zeros(ROWS, dtype=torch.int64))
    shares = built("live", given, built.count(given))
    shares.total.backward()
    assert shares.total.item() == 0
    assert all((gradient == 0).all() for gradient in gradients(built).values())
