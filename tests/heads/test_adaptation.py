"""Which weights learn, how fast and from when, on a real small model."""

import pytest
import torch

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.rates import Rate
from mmpretrain.core.settings import build
from mmpretrain.data.labels import Labels
from mmpretrain.heads.adaptation import Full, Gradual, LastBlocks, LowRankAdaptation, Probe
from mmpretrain.heads.classification import Classification
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.captioning import Captioning
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.optim.optimizer import Optim
from mmpretrain.towers.model import Towers

LAYERS = 2


def toy(name: str = "test_vit") -> TrainingModule:
    towers = build(
        Towers,
        {
            "image": {"kind": "timm", "name": name, "size": 32},
            "text": {"kind": "causal", "width": 16, "layers": LAYERS, "heads": 2},
        },
    )
    head = Classification(reads="product")
    model = towers.build(50, 8, head.needs)
    labels = {"classification": Labels(classes=("cat", "dog"))}
    return TrainingModule(model, [head], Surroundings(model=model, labels=labels))


def started(module: TrainingModule) -> list[str]:
    return [name for name, _ in module.named_parameters() if name.startswith("model.")]


def learning(module: TrainingModule) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_a_probe_learns_its_head_alone():
    module = toy()
    Probe().apply(module, started(module))
    assert learning(module) == {name for name, _ in module.named_parameters() if name.startswith("objectives.")}


def test_the_last_block_of_each_tower_learns_and_what_stands_above():
    module = toy()
    rates = LastBlocks(blocks=1, rate=0.1).apply(module, started(module))
    inside = {name for name in learning(module) if name.startswith("model.text.")}
    assert inside == {name for name in started(module) if ".text.blocks.1." in name or ".text.final_norm." in name}
    assert not any("patch_embed" in name for name in learning(module))
    assert any(name.startswith("model.image.") for name in learning(module))
    assert set(rates) == learning(module) & set(started(module))
    assert set(rates.values()) == {Rate(0.1)}


def test_lower_blocks_learn_slower_and_heads_at_the_full_rate():
    module = toy()
    rates = Full(rate=0.5, layer_decay=0.7).apply(module, started(module))
    height = {"model.text.blocks.1": 0, "model.text.blocks.0": 1, "model.text.embedding": 2}
    for name, rate in rates.items():
        for block, below in height.items():
            if name.startswith(f"{block}."):
                assert rate.factor == pytest.approx(0.5 * 0.7**below)
    assert not any(name.startswith("objectives.") for name in rates)
    groups = Optim().build(module, rates).param_groups
    assert sum(len(group["params"]) for group in groups) == len(learning(module))
    assert Rate() in {Rate(*group["rate"]) for group in groups}


def test_blocks_thaw_from_the_top_one_after_the_other():
    module = toy()
    rates = Gradual(every=10).apply(module, started(module))
    text = {
        name: [rates[each].from_step for each in rates if each.startswith(f"model.text.{name}.")]
        for name in ("blocks.1", "blocks.0", "embedding")
    }
    assert {name: set(steps) for name, steps in text.items()} == {
        "blocks.1": {10},
        "blocks.0": {20},
        "embedding": {30},
    }
    assert Rate(0.5, 10).at(9) == 0.0
    assert Rate(0.5, 10).at(10) == 0.5


def test_blocks_of_a_decoder_have_heights_and_words_that_are_only_embedded_stand_below_them():
    tree = {
        "image": {"kind": "timm", "name": "test_vit", "size": 32},
        "text": {"kind": "bidirectional", "width": 16, "layers": 3, "heads": 2},
        "decoder": {"start": "embedding", "shares": "text"},
    }
    model = build(Towers, tree).build(50, 8, Captioning().needs)
    module = TrainingModule(model, [Captioning()], Surroundings(model=model))
    rates = Full(layer_decay=0.5).apply(module, started(module))
    of_text = {
        name: rate.factor for name, rate in rates.items() if not name.startswith(("model.image.", "model.image_pool"))
    }
    for start, factor in (("decoder.blocks.2", 1), ("decoder.blocks.0", 0.25), ("text.embedding", 0.125)):
        found = {rate for name, rate in of_text.items() if name.startswith(f"model.{start}.")}
        assert found == {factor}
    LastBlocks(blocks=1).apply(module, started(module))
    left = {name.split(".")[1] + name.split(".")[3] for name in learning(module) if name.startswith("model.decoder.")}
    assert left == {"decoder2"}
    assert not any(name.startswith("model.text.") for name in learning(module))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_low_rank_changes_learn_beside_the_head(name: str):
    module = toy(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    LowRankAdaptation(rank=2).apply(module, started(module))
    names = learning(module)
    assert all("parametrizations" in each or each.startswith("objectives.") for each in names)
    assert any("model.image." in each for each in names)
    originals = {key: value for key, value in module.state_dict().items() if key.endswith("original")}
    assert originals
    for key, value in originals.items():
        assert torch.equal(value, before[key.replace("parametrizations.", "").removesuffix(".original")])


def test_a_tower_whose_blocks_are_not_known_is_refused_by_name():
    module = toy()
    module.model.image.depth = list
    with pytest.raises(ConfigError, match="last_k needs the blocks of the image tower, which are not known; use probe"):
        LastBlocks().apply(module, started(module))
