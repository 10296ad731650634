"""What every objective over pairs does alike: its sources, its count, its bounded scale, numbers that add up."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmpretrain.core.batch import Batch, Features
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.sigmoid import Sigmoid
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter


def around(names: Sequence[str] = ()) -> Surroundings:
    return Surroundings(model=None, sources=names)


ROWS, WIDTH = 12, 8
NAMES = ["a", "b", "c"]
every_kind = pytest.mark.parametrize("kind", [Contrastive, Sigmoid])


def features(dtype: torch.dtype = torch.float32) -> Features:
    generator = torch.Generator().manual_seed(0)
    image_BE, text_BE = (normalize(torch.randn(ROWS, WIDTH, generator=generator), dim=-1).to(dtype) for _ in range(2))
    rows = torch.arange(ROWS)
    return Features(image_BE.requires_grad_(), text_BE.requires_grad_(), rows // 2, rows + 100, rows % 3)


def learn(objective: nn.Module, given: Features, count: float = ROWS) -> dict[str, Tensor]:
    """Share, metrics and all gradients."""
    share, metrics = objective(given, torch.tensor(count))
    learned = dict(objective.named_parameters())
    found = torch.autograd.grad(share, [given.image_BE, given.text_BE, *learned.values()])
    return {"share": share, **metrics, **dict(zip(["image", "text", *learned], found, strict=True))}


@every_kind
def test_a_source_gives_what_its_rows_alone_give(kind: Any) -> None:
    given = features()
    used = torch.isin(given.source_B, torch.tensor([0, 2]))
    alone = Features(*(part[used].detach() for part in given[:5]))
    alone = alone._replace(image_BE=alone.image_BE.requires_grad_(), text_BE=alone.text_BE.requires_grad_())
    some = learn(kind(sources=["c", "a"]).build(around(NAMES)), given, float(used.sum()))
    expected = learn(kind().build(around(NAMES)), alone, float(used.sum()))
    for name in ("image", "text"):
        assert (some[name][~used] == 0).all()
        some[name] = some[name][used]
    torch.testing.assert_close(some, expected)


@every_kind
def test_a_step_without_a_row_of_the_source_has_a_share_and_gradients_of_zero(kind: Any) -> None:
    given = features()._replace(source_B=torch.zeros(ROWS, dtype=torch.int64))
    found = learn(kind(sources=["b"]).build(around(NAMES)), given, 0.0)
    assert all((value == 0).all() for value in found.values())


@every_kind
def test_it_counts_the_rows_of_its_sources(kind: Any) -> None:
    rows = torch.arange(7)
    batch = Batch(
        images_BCHW=torch.zeros(7, 3, 2, 2, dtype=torch.uint8),
        tokens_BL=torch.zeros(7, 4, dtype=torch.int64),
        mask_BL=torch.ones(7, 4, dtype=torch.bool),
        positions_B=rows,
        image_group_B=rows,
        text_group_B=rows,
        labels_B=rows,
        source_B=rows % 3,
    )
    assert kind().build(around(NAMES)).count(batch) == 7
    assert kind(sources=["a", "c"]).build(around(NAMES)).count(batch) == 5
    assert kind().build(around()).count(replace(batch, source_B=None)) == 7


@every_kind
@pytest.mark.parametrize("max_scale", [1.0, 50.0, 100.0])
@pytest.mark.parametrize("log_scale", [-20.0, 0.0, math.log(50.0), math.log(100.0), 10.0, 1e4])
def test_the_scale_never_leaves_its_bound_and_everything_stays_finite(
    kind: Any, max_scale: float, log_scale: float
) -> None:
    objective = kind(scale=1.0, max_scale=max_scale).build(around())
    nn.init.constant_(objective.log_scale, log_scale)
    found = learn(objective, features())
    assert 0 < found["scale"].item() <= max_scale * (1 + 1e-6)
    assert all(value.isfinite().all() for value in found.values())


@every_kind
def test_shares_over_more_rows_than_its_own_are_parts_of_the_whole(kind: Any) -> None:
    objective = kind().build(around())
    whole, quarter = learn(objective, features()), learn(objective, features(), 4.0 * ROWS)
    assert whole.pop("loss").item() == whole["share"].item()
    for name, value in whole.items():
        torch.testing.assert_close(4 * quarter[name], value)
    assert not any(value.requires_grad for value in objective(features(), torch.tensor(1.0))[1].values())


@every_kind
def test_features_of_lower_precision_give_a_loss_in_fp32_even_under_autocast(kind: Any) -> None:
    rounded = features(torch.bfloat16)
    same = Features(*(part.detach().float().requires_grad_() for part in rounded[:2]), *rounded[2:5])
    with torch.autocast("cpu", torch.bfloat16):
        found = learn(kind().build(around()), rounded)
    expected = learn(kind().build(around()), same)
    assert found["share"].dtype == torch.float32
    assert found["share"].item() == expected["share"].item()
    assert torch.equal(found["image"], expected["image"].bfloat16())


@every_kind
def test_a_scale_beyond_its_own_bound_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="scale 50 is more than max_scale 10"):
        build(kind, {"scale": 50.0, "max_scale": 10.0})


def test_a_run_learns_from_both(toy_config: ConfigWriter) -> None:
    from rich.console import Console

    from mmpretrain.core.files import read_json_lines

    objectives = [{"kind": "contrastive"}, {"kind": "sigmoid", "weight": 0.1}]
    place = pretrain(toy_config(objectives=objectives, train__micro_batches=2), [], "auto", Console(quiet=True))
    for record in read_json_lines(place.metrics):
        assert record["loss"] == pytest.approx(record["contrastive/loss"] + 0.1 * record["sigmoid/loss"], rel=1e-5)
        assert record["sigmoid/scale"] == pytest.approx(10, rel=0.1)
        assert record["sigmoid/bias"] == pytest.approx(-10, rel=0.1)
