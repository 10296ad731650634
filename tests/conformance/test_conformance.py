"""Every cut of a batch gives the gradient of the whole, and a loss that does not is found."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmpretrain.conformance.cuts import Cut, all_cuts, build_objective, check, distance
from mmpretrain.conformance.toy import ROWS, part_of, toy_batch, toy_module
from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.conformance import EVERY, conformance

WRONG = Path(__file__).parent / "wrong_losses.py"
CUT = Cut(objective="own", engine="ddp", world_size=2, accumulation=1, chunk=None, dropout=0.0)


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_two_ranks_of_two_micro_batches_give_the_gradient_of_one_process_for_every_objective() -> None:
    cuts = [cut for cut in all_cuts(EVERY, [1, 2], [1, 2], ["ddp"]) if cut.world_size * cut.accumulation in (2, 4)]
    rows = check(EVERY, cuts)
    assert {row.objective for row in rows} == EVERY.keys()
    assert {row.dropout for row in rows} == {0.0, 0.1}
    assert [row for row in rows if not row.ok] == []


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_a_loss_scaled_by_the_ranks_and_one_with_local_negatives_are_found() -> None:
    mixes = {
        "over ranks": [{"kind": "custom", "path": f"{WRONG}:OverRanks"}],
        "local": [{"kind": "custom", "path": f"{WRONG}:LocalNegatives"}],
    }
    alone = {"world_size": 1, "engine": "single"}
    rows = check(mixes, [replace(CUT, objective=name, **more) for name in mixes for more in (alone, {})])
    assert {(row.objective, row.world_size): row.ok for row in rows} == {
        ("over ranks", 1): True,
        ("over ranks", 2): False,
        ("local", 1): True,
        ("local", 2): False,
    }
    by_name = {row.objective: row.max_rel_diff for row in rows if row.world_size == 2}
    assert by_name["over ranks"] == pytest.approx(0.5), "half of the gradient is missing"


def test_the_parts_of_a_cut_are_the_batch() -> None:
    whole = toy_batch()
    for ranks, micros in ((1, 1), (2, 4), (4, 2)):
        parts = [part_of(whole, micro, rank, ranks, micros) for rank in range(ranks) for micro in range(micros)]
        assert torch.equal(torch.cat([part.positions_B for part in parts]), whole.positions_B)
        assert torch.equal(torch.cat([part.tokens_BL for part in parts]), whole.tokens_BL)
        assert [key for part in parts for key in part.keys] == [str(row) for row in range(ROWS)]


def test_a_gradient_that_is_missing_or_no_number_is_as_far_as_can_be() -> None:
    given = {"weight": torch.ones(3), "loss": torch.ones(1)}
    assert distance(given, given) == 0
    assert distance({"loss": torch.ones(1)}, given) == float("inf")
    assert distance({**given, "weight": torch.tensor([1.0, 1.0, torch.nan])}, given) == float("inf")
    assert distance({**given, "weight": torch.ones(3) * 1.5}, given) == pytest.approx(0.5)


def test_a_configs_own_layers_and_heads_are_tried_on_those_of_toy_towers() -> None:
    tree = {"kind": "text_distillation", "teacher": "any", "hidden": 1, "attention": 1, "relations": 1, "cosine": 1}
    asked = {"layers": [[0, 0], [3, 9], [4, 12]], "relation_heads": 48, "relation_layers": [4, 10]}
    module, batch = toy_module([build_objective({**tree, **asked}, None)]), toy_batch()
    module("live", batch, module.count(batch)).total.backward()
    assert [name for name, parameter in module.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize(("more", "said"), [({"engines": ["zero4"]}, "no engine 'zero4'"), ({"ranks": [3]}, "3 does")])
def test_cuts_that_there_are_not_are_refused(more: dict, said: str) -> None:
    asked = {"ranks": [1], "accumulations": [1], "engines": ["ddp"], "as_json": False, **more}
    with pytest.raises(ConfigError, match=said):
        conformance(None, (), console=Console(quiet=True), **asked)
