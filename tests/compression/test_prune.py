"""A pruned model says what the original says with the same heads, channels and layers switched off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmpretrain.compression.prune import Prune, best, prune
from mmpretrain.compression.structure import text_stack, without_blocks
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.weights import require_same_names
from mmpretrain.engines.base import module_shapes
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.recipes.assemble import build_module
from mmpretrain.recipes.compressing.surgery import work_of, write_run
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.opened import Opened, open_best
from mmpretrain.towers.narrow import cut, parts_of
from tests.compression.runs import train
from tests.conftest import ConfigWriter

VIT = {"kind": "timm", "name": "test_vit", "size": 32}
FUSED = {
    "objectives": [
        {"kind": "contrastive"},
        {"kind": "matching", "negatives_within": 4},
        {"kind": "captioning", "words": "seen"},
    ],
    "towers__fusion": {"layers": 1},
    "towers__decoder": {"layers": 1, "shares": "fusion", "own_attention": True},
    "towers__image_queries": 3,
}
SEVERAL = {"share": 0.5, "multiple_of": 2, "least": 0.25, "batches": 2}


def pruned(given: Opened, step: Prune) -> tuple[TrainingModule, Any]:
    changed = prune(step, work_of(given))
    config = replace(given.config, towers=changed.towers)
    module = build_module(config, given.tokenizer, seen(given), {}).eval()
    # shared tensors once, as a checkpoint has them
    names = module_shapes(module)
    require_same_names({name: changed.tensors[name] for name in names}, names, "pruned")
    module.load_state_dict({name: changed.tensors[name] for name in names}, strict=False)
    return module, changed


def seen(given: Opened) -> Tensor | None:
    return next((each.seen_S for each in given.module.objectives if hasattr(each, "seen_S")), None)


def masked(given: Opened, changed: Any) -> TrainingModule:
    """The original with zeros in what reads the units that left."""
    state = given.module.state_dict()
    for part in parts_of(given.module):
        if part.name in changed.keep:
            gone = torch.tensor([unit not in changed.keep[part.name] for unit in range(part.units)])
            assert gone.any()
            state[part.reader][:, gone.repeat_interleave(part.channels)] = 0
    return given.module


@torch.no_grad()
def said(module: TrainingModule, given: Opened) -> list[Tensor]:
    batch = work_of(given).batches(1)[0]
    encoded = module.model(batch, module.needs)
    found = [encoded.features.image_BE, encoded.features.text_BE]
    if module.model.decoder is not None:
        found.append(module.model.decode(batch.tokens_BL, batch.mask_BL, encoded.image_BND))
        found.append(module.model.fuse(batch.tokens_BL, batch.mask_BL, encoded.image_BND))
    return found


@pytest.mark.parametrize(
    ("towers", "score"),
    [({}, "taylor"), ({"towers__image": VIT}, "magnitude"), (FUSED, "taylor")],
    ids=["resnet", "vit", "fusion and decoder"],
)
def test_what_is_left_says_what_the_original_says_without_what_left(
    toy_config: ConfigWriter, run: Path, towers: dict, score: Any
):
    given = open_best(train(toy_config, **towers) if towers else run)
    inside = {"heads", "mlp"} if towers is FUSED else {"heads", "mlp", "channels"}
    step = Prune(**SEVERAL, score=score, what=sorted(inside))
    module, changed = pruned(given, step)
    before, after = (sum(p.numel() for p in each.parameters()) for each in (given.module, module))
    assert after < before
    assert changed.facts["widths"]
    if towers is FUSED:
        assert set(changed.facts["widths"]) == {"text.heads", "text.mlp_width"}
    for ours, theirs in zip(said(module, given), said(masked(given, changed), given), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_layers_leave_and_the_others_say_the_same_as_with_the_path_around_them(toy_config: ConfigWriter):
    given = open_best(train(toy_config, towers__text={"kind": "causal", "width": 16, "layers": 3, "heads": 4}))
    module, changed = pruned(given, Prune(share=0, text_layers=1, batches=1))
    gone = changed.facts["layers"]["text"][0]
    state = given.module.state_dict()
    for end in ("attention.output", "mlp.output"):
        for kind in ("weight", "bias"):
            state[f"model.text.blocks.{gone}.{end}.{kind}"].zero_()
    assert len(module.model.text.blocks) == 2
    for ours, theirs in zip(said(module, given), said(given.module, given), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_layers_and_heads_leave_together_of_both_towers(toy_config: ConfigWriter):
    given = open_best(train(toy_config, towers__image=VIT))
    module, changed = pruned(given, Prune(share=0.4, text_layers=1, image_layers=2, multiple_of=2, batches=1))
    assert len(module.model.text.blocks) == 1
    assert len(module.model.image.trunk.blocks) == 4
    assert all("blocks.4" not in name and "blocks.5" not in name for name in changed.towers.image.widths)


def test_the_share_is_that_of_the_parameters_that_can_be_pruned(opened: Opened):
    own = {name for part in parts_of(opened.module.model) for name, *_ in part.tensors}
    sizes = {name: p.numel() for name, p in opened.module.model.named_parameters() if name in own}
    module, _ = pruned(opened, Prune(share=0.4, multiple_of=1, batches=1))
    left = sum(p.numel() for name, p in module.model.named_parameters() if name in own)
    assert 0.38 < 1 - left / sum(sizes.values()) < 0.45


def test_a_pruned_run_is_a_run(opened: Opened, toy_config: ConfigWriter, tmp_path: Path):
    out = tmp_path / "small"
    write_run(opened, prune(Prune(**SEVERAL), work_of(opened)), out, out)
    record = evaluate(out, "retrieval", ":val", (), None)
    assert record["metrics"]["i2t_R@10"]["n"] == 13
    again = train(toy_config, "again", init=str(out))
    assert open_best(again).config.towers == open_best(out).config.towers


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"share": 0.99}, "at most"),
        ({"share": 0.2, "text_layers": 2}, "leave none"),
        ({"share": 0.2, "image_layers": 1}, "image_layers"),
    ],
)
def test_what_cannot_be_taken_out_is_refused_by_name(opened: Opened, step: dict, told: str):
    with pytest.raises(ConfigError, match=told):
        prune(Prune(batches=1, **step), work_of(opened))


def test_a_tower_with_nothing_to_prune_is_refused_by_name(toy_config: ConfigWriter):
    image = {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "group"}
    given = open_best(train(toy_config, towers__image=image))
    with pytest.raises(ConfigError, match="norm group"):
        prune(Prune(what=["channels"], batches=1), work_of(given))


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="takes nothing out"):
        Prune(share=0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.data())
def test_the_best_units_stay_in_their_order(scores: list[float], data: st.DataObject):
    count = data.draw(st.integers(1, len(scores)))
    kept = best(torch.tensor(scores, dtype=torch.float64), count).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == count
    others = [score for place, score in enumerate(scores) if place not in kept]
    assert not others or max(others) <= min(scores[place] for place in kept)


def test_blocks_that_leave_take_their_tensors_along_and_the_others_close_up(toy_config: ConfigWriter):
    given = open_best(train(toy_config, towers__text={"kind": "causal", "width": 16, "layers": 3, "heads": 4}))
    stack = text_stack(given.module)
    assert stack is not None
    names = {name: name for name in given.module.state_dict() if name.startswith(stack.prefix)}
    left = without_blocks(stack, [1], names)
    assert sorted({name.split(".")[3] for name in left}) == ["0", "1"]
    assert left["model.text.blocks.1.mlp.input.weight"] == "model.text.blocks.2.mlp.input.weight"


def test_cutting_leaves_tensors_of_other_parts_alone(opened: Opened):
    module = opened.module
    parts = parts_of(module)
    found = cut(parts, {parts[0].name: torch.arange(1)}, module.state_dict())
    changed = {name for name, tensor in found.items() if tensor.shape != module.state_dict()[name].shape}
    assert changed == {name for name, *_ in parts[0].tensors}
